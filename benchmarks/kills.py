"""Kill workers while they run a job: how soon the job runs again and the worker is replaced."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import notes
from benchmarks.environment import QUEUE, BenchmarkFailed, Environment, log, open_environment
from benchmarks.notes import Notes
from benchmarks.report import Figures, percentile
from taskmaster import Consumer, Job, Publisher

KILLS = 200
WORKERS = 2
WITHIN_SECONDS = 10.0
POLL_SECONDS = 0.001
START, FIRST, AGAIN = 0.0, 1.0, 2.0


def measure(url: str) -> Figures:
    """Return percentiles of both times."""
    with open_environment(url) as env, env.publisher() as publisher:
        consumer = Consumer(
            QUEUE,
            callback=hold_first_run,
            component=partial(note_start, env.reports),
            concurrency=WORKERS,
            batch=1,
        )
        with env.supervisor(consumer).start():
            times = [kill_one(env, publisher) for _ in range(KILLS)]
        env.expect_jobs(0)
    log(f"kills: {KILLS} workers killed in a job, none was lost")
    again, replaced = zip(*times, strict=True)
    return {
        "kill_to_run_again_p50_ms": percentile(again, 0.5) * 1000,
        "kill_to_run_again_p99_ms": percentile(again, 0.99) * 1000,
        "kill_to_replacement_p50_ms": percentile(replaced, 0.5) * 1000,
        "kill_to_replacement_p99_ms": percentile(replaced, 0.99) * 1000,
    }


def kill_one(env: Environment, publisher: Publisher) -> tuple[float, float]:
    """Kill a worker in a job, and return the seconds to the next run and to the new worker."""
    job_id = publisher.put(QUEUE)
    _, pid, *_ = wait_for_note(env, partial(find_run, FIRST, job_id))
    killed_at = time.monotonic()
    os.kill(int(pid), signal.SIGKILL)
    again = wait_for_note(env, partial(find_run, AGAIN, job_id))
    replacement = wait_for_note(env, partial(find_start, killed_at))
    return again[3] - killed_at, replacement[3] - killed_at


@contextmanager
def note_start(directory: Path) -> Iterator[int]:
    """Note that a worker is up once its component is open."""
    with notes.open_notes(directory) as fd:
        notes.write(fd, START, os.getpid(), 0, time.monotonic())
        yield fd


def hold_first_run(job: Job) -> None:
    """Let the first run last until it is killed, and end the second at once."""
    kind = FIRST if job.run_count == 1 else AGAIN
    notes.write(job.component, kind, os.getpid(), job.id, time.monotonic())
    if job.run_count == 1:
        time.sleep(WITHIN_SECONDS)


def find_run(kind: float, job_id: int, lines: Notes) -> Sequence[float] | None:
    return next((line for line in reversed(lines) if line[0] == kind and line[2] == job_id), None)


def find_start(after: float, lines: Notes) -> Sequence[float] | None:
    return next((line for line in reversed(lines) if line[0] == START and line[3] > after), None)


def wait_for_note(
    env: Environment, find: Callable[[Notes], Sequence[float] | None]
) -> Sequence[float]:
    """Return the line that `find` finds. Raise BenchmarkFailed if it does not come in time."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while (line := find(notes.read(env))) is None:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(
                "a killed worker's job did not run again, or the worker was not replaced, "
                f"within {WITHIN_SECONDS:g} s"
            )
        time.sleep(POLL_SECONDS)
    return line
