"""A file to which callbacks append what they do, and gates at which they wait.

A test reads the journal, and opens a gate to let callbacks continue.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from taskmaster import Job
from tests.support.waiting import pause

JOURNAL = "TASKMASTER_TEST_JOURNAL"
GATES = "TASKMASTER_TEST_GATES"
HOLD_SECONDS = 30.0  # the limit for waiting at a gate that the test never opens


class Run(NamedTuple):
    """One start of a callback. Times are monotonic.

    `ended` is None while it runs, and if it was cut off.
    """

    id: int
    pid: int
    run: int
    began: float
    ended: float | None


class Journal:
    """The test's side of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, word: str | None = None) -> list[dict[str, Any]]:
        """Return the lines in order, only those of one kind if `word` is given."""
        whole, _, _ = self.path.read_text().rpartition("\n")  # the last line may be incomplete
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if word is None or line["word"] == word]

    def runs(self) -> list[Run]:
        """Return every start of a callback, in order."""
        ended = {(line["id"], line["pid"], line["run"]): line["at"] for line in self.lines("ended")}
        return [
            Run(
                line["id"],
                line["pid"],
                line["run"],
                line["at"],
                ended.get((line["id"], line["pid"], line["run"])),
            )
            for line in self.lines("began")
        ]

    def runs_of(self, job_id: int) -> list[Run]:
        return [run for run in self.runs() if run.id == job_id]

    def began(self) -> list[int]:
        """Return ids in the order in which their callbacks were started."""
        return [run.id for run in self.runs()]

    def finished(self) -> list[int]:
        """Return the ids of the runs that ended, in the order of their start."""
        return [run.id for run in self.runs() if run.ended is not None]

    def most_at_once(self) -> int:
        """Return the largest number of callbacks that ran at the same time."""
        most = running = 0
        for line in self.lines():
            running += {"began": 1, "ended": -1}.get(str(line["word"]), 0)
            most = max(most, running)
        return most


class Gates:
    """The test's side of the gates."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def open(self, name: str = "gate") -> None:
        (self.directory / name).touch()


def note(word: str, **facts: object) -> None:
    """Append one line in one write, so that processes do not mix theirs."""
    line = json.dumps({"word": word, "pid": os.getpid(), "at": time.monotonic()} | facts) + "\n"
    fd = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def note_job(word: str, job: Job, **facts: object) -> None:
    note(word, id=job.id, run=job.run_count, **facts)


def own_journal() -> Journal:
    """Return the journal as a callback sees it."""
    return Journal(Path(os.environ[JOURNAL]))


def is_open(name: str) -> bool:
    return (Path(os.environ[GATES]) / name).exists()


def wait_at(name: str = "gate") -> None:
    """Wait until the test opens the gate."""
    wait_until(lambda: is_open(name), f"the gate {name!r} was not opened")


def wait_until(fact: Callable[[], bool], otherwise: str) -> None:
    """Hold the callback until the fact is true."""
    deadline = time.monotonic() + HOLD_SECONDS
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        pause(0.002)
