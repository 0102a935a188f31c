"""Notes of single jobs: each worker appends one line of numbers per job to a shared file."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.environment import QUEUE, BenchmarkFailed, Environment
from taskmaster import Consumer
from taskmaster.consumer import Callback

NAME = "notes"
POLL_SECONDS = 0.02

Notes = Sequence[Sequence[float]]


@contextmanager
def open_notes(directory: Path) -> Iterator[int]:
    """Yield the descriptor to write to. It is the component of the jobs."""
    fd = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield fd
    finally:
        os.close(fd)


def write(fd: int, *numbers: float) -> None:
    """Append one line."""
    os.write(fd, f"{' '.join(map(repr, numbers))}\n".encode())


def consumer(env: Environment, callback: Callback, *, workers: int) -> Consumer:
    """Return a consumer whose jobs can write notes to `job.component`."""
    component = partial(open_notes, env.reports)
    return Consumer(QUEUE, callback=callback, component=component, concurrency=workers)


def wait_for(env: Environment, lines: int, *, within_seconds: float) -> Notes:
    """Return the notes once there are `lines` lines.

    Raises BenchmarkFailed if there are more, or if they do not come in time.
    """
    deadline = time.monotonic() + within_seconds
    # Only count the lines while jobs run: parsing them would cost the jobs CPU.
    while (found := text(env).count(b"\n")) < lines:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(
                f"{lines} jobs should have run within {within_seconds:g} s, {found} did"
            )
        time.sleep(POLL_SECONDS)
    if found > lines:
        raise BenchmarkFailed(f"{lines} jobs should have run once each, there were {found} runs")
    return read(env)


def read(env: Environment) -> Notes:
    """Return the notes, one row per line."""
    return [[float(number) for number in line.split()] for line in text(env).splitlines()]


def text(env: Environment) -> bytes:
    path = env.reports / NAME
    return path.read_bytes() if path.exists() else b""
