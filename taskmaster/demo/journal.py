"""The journal of all runs: each run appends a line when it begins and one when it ends.

It shows what really ran, whichever worker is killed. All workers write to one file, because a line
shorter than a page is appended atomically. Times are monotonic, and the same in all processes.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import orjson

from taskmaster.job import Job


class JournalWriter:
    """A worker's side of the journal."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def run(self, job: Job) -> Iterator[None]:
        """Note the beginning and the end of a run. A killed worker leaves only the beginning."""
        self._write(job, ended=False, cpu_seconds=0.0)
        since = time.process_time()
        yield
        self._write(job, ended=True, cpu_seconds=time.process_time() - since)

    def _write(self, job: Job, *, ended: bool, cpu_seconds: float) -> None:
        line = {
            "job": job.id,
            "pid": os.getpid(),
            "at": time.monotonic(),
            "ended": ended,
            "cpu_seconds": cpu_seconds,
        }
        os.write(self._fd, orjson.dumps(line) + b"\n")

    def close(self) -> None:
        os.close(self._fd)


@dataclass(slots=True)
class Run:
    """One run of a job. `ended_at` is None while it runs, and if its worker was killed."""

    job: int
    pid: int
    began_at: float
    ended_at: float | None = None
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class Journal(AbstractContextManager["Journal"]):
    """The demo's side of the journal. `read` adds the lines that are new."""

    path: Path
    runs: list[Run] = field(default_factory=list)
    running: dict[int, Run] = field(default_factory=dict)  # by pid: a worker runs one job at a time
    file: IO[bytes] | None = None
    rest: bytes = b""

    def read(self) -> Self:
        if self.file is None and self.path.exists():
            self.file = self.path.open("rb")
        if self.file is not None:
            *lines, self.rest = (self.rest + self.file.read()).split(b"\n")
            for line in lines:
                self._add(**orjson.loads(line))
        return self

    def _add(self, job: int, pid: int, at: float, ended: bool, cpu_seconds: float) -> None:
        if not ended:
            self.running[pid] = Run(job, pid, at)
            self.runs.append(self.running[pid])
        elif pid in self.running:
            run = self.running.pop(pid)
            run.ended_at, run.cpu_seconds = at, cpu_seconds

    def of(self, job: int) -> list[Run]:
        """Return the runs of one job, in order."""
        return [run for run in self.runs if run.job == job]

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
