"""What single jobs have seen: each worker appends a line per job to one file."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.place import QUEUE, BenchmarkFailed, Place
from taskmaster import Consumer
from taskmaster.consumer import Callback

NAME = "notes"
EVERY_SECONDS = 0.02


@contextmanager
def notebook(directory: Path) -> Iterator[int]:
    """The descriptor to write to, as the component of the jobs."""
    fd = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield fd
    finally:
        os.close(fd)


def note(fd: int, *numbers: float) -> None:
    os.write(fd, f"{' '.join(map(repr, numbers))}\n".encode())


def consumer(place: Place, callback: Callback, *, workers: int) -> Consumer:
    """A consumer whose jobs may note something on `job.component`."""
    return Consumer(
        QUEUE, callback=callback, component=partial(notebook, place.reports), concurrency=workers
    )


def wait_for(place: Place, lines: int, *, within_seconds: float) -> Sequence[Sequence[float]]:
    """The numbers noted, a row per job. Raises BenchmarkFailed unless there are exactly so many in time."""
    deadline = time.monotonic() + within_seconds
    while (
        noted := text(place).count(b"\n")
    ) < lines:  # counted only: to look must cost the jobs nothing
        if time.monotonic() > deadline:
            raise BenchmarkFailed(
                f"{lines} jobs should have run within {within_seconds:g} s, {noted} did"
            )
        time.sleep(EVERY_SECONDS)
    if noted > lines:
        raise BenchmarkFailed(f"{lines} jobs should have run once each, there were {noted} runs")
    return read(place)


def read(place: Place) -> Sequence[Sequence[float]]:
    return [[float(number) for number in line.split()] for line in text(place).splitlines()]


def text(place: Place) -> bytes:
    path = place.reports / NAME
    return path.read_bytes() if path.exists() else b""
