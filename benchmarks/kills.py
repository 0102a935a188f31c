"""A worker is killed in the middle of a job: how soon the job runs again, and how soon the worker is replaced."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import notes
from benchmarks.place import QUEUE, BenchmarkFailed, Place, place, say
from benchmarks.report import Figures, percentile
from taskmaster import Consumer, Job

KILLS = 200
WORKERS = 2
WITHIN_SECONDS = 10.0
LOOK_SECONDS = 0.001
UP, FIRST, AGAIN = 0.0, 1.0, 2.0
Notes = Sequence[Sequence[float]]


def measure(url: str) -> Figures:
    again, replaced = [], []
    with place(url) as here, here.publisher() as publisher:
        consumer = Consumer(
            QUEUE,
            callback=held,
            component=partial(arrival, here.reports),
            concurrency=WORKERS,
            batch=1,
        )
        with here.supervisor(consumer).start():
            for _ in range(KILLS):
                job_id = publisher.put(QUEUE)
                _, pid, *_ = found(here, partial(of, FIRST, job_id))
                killed = time.monotonic()
                os.kill(int(pid), signal.SIGKILL)
                again.append(found(here, partial(of, AGAIN, job_id))[3] - killed)
                replaced.append(found(here, partial(up_after, killed))[3] - killed)
        here.expect_jobs(0)
    say(f"kills: {KILLS} workers killed in a job, none was lost")
    return {
        "kill_to_run_again_p50_ms": percentile(again, 0.5) * 1000,
        "kill_to_run_again_p99_ms": percentile(again, 0.99) * 1000,
        "kill_to_replacement_p50_ms": percentile(replaced, 0.5) * 1000,
        "kill_to_replacement_p99_ms": percentile(replaced, 0.99) * 1000,
    }


@contextmanager
def arrival(directory: Path) -> Iterator[int]:
    """Notes that a worker is up: what it is to work with is there."""
    with notes.notebook(directory) as fd:
        notes.note(fd, UP, os.getpid(), 0, time.monotonic())
        yield fd


def held(job: Job) -> None:
    """The first run lasts until it is killed, the second is done at once."""
    notes.note(
        job.component, FIRST if job.run_count == 1 else AGAIN, os.getpid(), job.id, time.monotonic()
    )
    if job.run_count == 1:
        time.sleep(WITHIN_SECONDS)


def of(what: float, job_id: int, noted: Notes) -> Sequence[float] | None:
    return next((line for line in reversed(noted) if line[0] == what and line[2] == job_id), None)


def up_after(killed: float, noted: Notes) -> Sequence[float] | None:
    return next((line for line in reversed(noted) if line[0] == UP and line[3] > killed), None)


def found(here: Place, look: Callable[[Notes], Sequence[float] | None]) -> Sequence[float]:
    """The line that is looked for. Raises BenchmarkFailed when it does not come."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while (line := look(notes.read(here))) is None:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(
                f"a killed worker's job, or its successor, did not come within {WITHIN_SECONDS:g} s"
            )
        time.sleep(LOOK_SECONDS)
    return line
