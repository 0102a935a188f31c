"""What really ran: each run appends a line when it begins and one when it ends, whoever kills whom.

One file for all workers: a line shorter than a page is appended whole. Times are monotonic, which all processes share.
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


class Pen:
    """A worker's end of the journal."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def run(self, job: Job) -> Iterator[None]:
        """Note the run of a job. A killed worker leaves the beginning only."""
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
    """One run of a job; `ended_at` None: it still runs, or its worker died."""

    job: int
    pid: int
    began_at: float
    ended_at: float | None = None
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class Journal(AbstractContextManager["Journal"]):
    """The reader's end: `read` takes in what is new."""

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
                self._take_in(**orjson.loads(line))
        return self

    def _take_in(self, job: int, pid: int, at: float, ended: bool, cpu_seconds: float) -> None:
        if not ended:
            self.running[pid] = Run(job, pid, at)
            self.runs.append(self.running[pid])
        elif pid in self.running:
            run = self.running.pop(pid)
            run.ended_at, run.cpu_seconds = at, cpu_seconds

    def of(self, job: int) -> list[Run]:
        """The runs of one job, in order."""
        return [run for run in self.runs if run.job == job]

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
