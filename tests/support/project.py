"""`taskmaster run` as a user has it: a directory whose taskmaster.toml and jobs.py the test writes and rewrites."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.journal import GATES, JOURNAL, Gates, Journal
from tests.support.supervisor_process import MARK, expect_nobody, marked, title_of
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
QUICK = {
    "grace_seconds": 10,
    "heartbeat_seconds": 0.1,
    "gone_after_seconds": 5,
    "restart_base_seconds": 0.01,
}
READY_WITHIN_SECONDS = 20.0
LEAVES_WITHIN_SECONDS = 20.0

JOBS = """\
from contextlib import contextmanager
from tests.support.callbacks import act as told
from tests.support.journal import note

def act(job):
    note("version", id=job.id, version={version!r})
    return told(job)

@contextmanager
def component():
    yield
"""


class Project:
    """The directory, and the supervisor that runs in it."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.mark = f"project-{secrets.token_hex(6)}"
        self.environment = {
            **os.environ, **environment, MARK: self.mark, "SPT_NOENV": "1", "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions within a second would look the same
        }  # fmt: skip
        self.log = directory / "run.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.version("old")
        self.configure({})

    # -- what a user writes

    def version(self, name: str, more: str = "") -> None:
        """Write jobs.py anew; each run notes the name of the version that it ran."""
        (self.directory / "jobs.py").write_text(JOBS.format(version=name) + more)

    def configure(self, *consumers: Mapping[str, Any], top: str = "", **options: float) -> None:
        """Write taskmaster.toml anew: tables of `consumer`, with queue "q" and the callback of jobs.py by default."""
        supervisor = "".join(f"{key} = {value}\n" for key, value in {**QUICK, **options}.items())
        tables = [{"queue_name": "q", "callback": "jobs:act", **consumer} for consumer in consumers]
        written = "".join(
            "\n[[consumer]]\n"
            + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
            for table in tables
        )
        (self.directory / "taskmaster.toml").write_text(
            f"{top}\n[supervisor]\n{supervisor}{written}"
        )

    # -- the supervisor

    def start(
        self, *arguments: str, ready: bool = True, through: Sequence[str] = (), **options: Any
    ) -> "subprocess.Popen[bytes]":
        """`taskmaster run`, with its output in run.log. `through`: a command that becomes it."""
        with self.log.open("w") as log:
            streams = {"stdout": log, "stderr": log, **options}
            command = [*through, sys.executable, "-m", "taskmaster", *(arguments or ("run",))]
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=self.environment, **streams
            )
        if ready:
            eventually(lambda: "ready: " in self.said(), within=READY_WITHIN_SECONDS)
        return self.process

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def hup(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def reload(self) -> None:
        """SIGHUP, and wait until the new configuration is at work."""
        before = self.reloads()
        self.hup()
        eventually(lambda: self.reloads() > before, within=READY_WITHIN_SECONDS)

    def reloads(self) -> int:
        return self.said().count("reloaded: ")

    def said(self) -> str:
        """All that it has printed and logged."""
        return self.log.read_text(errors="replace")

    def sentence(self, words: str) -> str:
        """The one line of the log with these words; fails while there is none."""
        lines = [line for line in self.said().splitlines() if words in line]
        assert len(lines) == 1, self.said()
        assert "Traceback" not in self.said()
        return lines[0]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.left()

    def left(self) -> int:
        assert self.process is not None
        return self.process.wait(LEAVES_WITHIN_SECONDS)

    # -- its processes

    def workers(self, queue_name: str = "") -> list[int]:
        return self.titled(f"taskmaster worker {queue_name}")

    def templates(self) -> list[int]:
        return self.titled("taskmaster template")

    def titled(self, title: str) -> list[int]:
        return [pid for pid in marked(self.mark) if title_of(pid).startswith(title)]

    def signal_all(self, number: signal.Signals) -> None:
        """To the supervisor, the template and all workers, as far as one has not ended another by then."""
        for pid in marked(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def versions(journal: Journal, job_id: int) -> list[str]:
    """Which version of the code ran a job, run by run."""
    return [line["version"] for line in journal.lines("version") if line["id"] == job_id]


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@contextmanager
def project(
    directory: Path, database_url: str, journal: Journal, gates: Gates
) -> Iterator[Project]:
    """A directory on the test's database; nothing that was started in it may be left."""
    directory.mkdir()
    environment = {
        "TASKMASTER_DATABASE_URL": database_url,
        JOURNAL: str(journal.path),
        GATES: str(gates.directory),
    }
    one = Project(directory, environment)
    try:
        yield one
    finally:
        if one.process is not None:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait(LEAVES_WITHIN_SECONDS)
            expect_nobody(one.mark)
