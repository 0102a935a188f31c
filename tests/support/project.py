"""`taskmaster run` in a directory whose taskmaster.toml and jobs.py a test writes and rewrites."""

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
from tests.support.supervisor_process import MARK, expect_no_process, pids_with_mark, title_of
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
QUICK = {
    "grace_seconds": 10,
    "heartbeat_seconds": 0.1,
    "gone_after_seconds": 5,
    "restart_base_seconds": 0.01,
}
PROGRAM = (sys.executable, "-m", "taskmaster")
READY_WITHIN_SECONDS = 20.0
EXITS_WITHIN_SECONDS = 20.0

JOBS = """\
from contextlib import contextmanager
from tests.support.callbacks import act as act_as_told
from tests.support.journal import note

def act(job):
    note("version", id=job.id, version={version!r})
    return act_as_told(job)

@contextmanager
def component():
    yield
"""
# An addition to jobs.py: its import waits until the test opens the gate "import".
SLOW_IMPORT = """
from tests.support.journal import wait_at
note("importing")
wait_at("import")
"""


class Project:
    """The directory and the supervisor that runs in it."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.mark = f"project-{secrets.token_hex(6)}"
        self.environment = {
            **os.environ, **environment, MARK: self.mark, "SPT_NOENV": "1", "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions within a second would look the same
        }  # fmt: skip
        self.log = directory / "run.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.write_version("old")
        self.configure({})

    # -- what a user writes

    def write_version(self, name: str, more: str = "") -> None:
        """Write jobs.py. Each run notes the name of the version."""
        (self.directory / "jobs.py").write_text(JOBS.format(version=name) + more)

    def configure(self, *consumers: Mapping[str, Any], top: str = "", **options: Any) -> None:
        """Write taskmaster.toml with these consumers, by default of queue "q" and jobs.py."""
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
        self,
        *arguments: str,
        ready: bool = True,
        through: Sequence[str] = (),
        program: Sequence[str] = PROGRAM,
        **options: Any,
    ) -> "subprocess.Popen[bytes]":
        """Start `taskmaster run` with its output in run.log, by the command `through` if given."""
        with self.log.open("w") as log:
            streams = {"stdout": log, "stderr": log, **options}
            command = [*through, *program, *(arguments or ("run",))]
            self.process = subprocess.Popen(
                command, **{"cwd": self.directory, "env": self.environment, **streams}
            )
        if ready:
            eventually(lambda: "ready: " in self.output(), within=READY_WITHIN_SECONDS)
        return self.process

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def hup(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def reload(self) -> None:
        """Send SIGHUP, and wait until the new configuration is in use."""
        before = self.reload_count()
        self.hup()
        eventually(lambda: self.reload_count() > before, within=READY_WITHIN_SECONDS)

    def reload_count(self) -> int:
        return self.output().count("reloaded: ")

    def output(self) -> str:
        """Return all that the supervisor has printed and logged."""
        return self.log.read_text(errors="replace")

    def log_line(self, words: str) -> str:
        """Return the only line of the log with these words. Fail if there is another number."""
        lines = [line for line in self.output().splitlines() if words in line]
        assert len(lines) == 1, self.output()
        assert "Traceback" not in self.output()
        return lines[0]

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait_for_exit()

    def wait_for_exit(self) -> int:
        assert self.process is not None
        return self.process.wait(EXITS_WITHIN_SECONDS)

    # -- its processes

    def workers(self, queue_name: str = "") -> list[int]:
        return self.pids_by_title(f"taskmaster worker {queue_name}")

    def templates(self) -> list[int]:
        return self.pids_by_title("taskmaster template")

    def pids_by_title(self, title: str) -> list[int]:
        return [pid for pid in pids_with_mark(self.mark) if title_of(pid).startswith(title)]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor, the template and all workers that still run."""
        for pid in pids_with_mark(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def versions(journal: Journal, job_id: int) -> list[str]:
    """Return which version of the code ran a job, run by run."""
    return [line["version"] for line in journal.lines("version") if line["id"] == job_id]


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@contextmanager
def project(
    directory: Path, database_url: str, journal: Journal, gates: Gates
) -> Iterator[Project]:
    """Yield a directory on the test's database. No process started in it may be left at the end."""
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
            one.process.wait(EXITS_WITHIN_SECONDS)
            expect_no_process(one.mark)
