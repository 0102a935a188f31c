"""How many jobs ran and when: each worker counts in a file mapped into memory, which we read.

Counting costs a job about 0.15 µs, and reading costs no SQL statement.
"""

import itertools
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import QUEUE, BenchmarkFailed, Environment
from taskmaster import Consumer, Job
from taskmaster.consumer import MiddlewareSpec

CELL = 8
SAMPLE_SECONDS = 0.01
STALL_SECONDS = 20.0


class Sample(NamedTuple):
    """The number of jobs that had run at a time (monotonic, in seconds)."""

    seconds: float
    jobs: int


@contextmanager
def counter(directory: Path) -> Iterator[memoryview]:
    """Yield this worker's own counter. It is the component of the jobs."""
    with (directory / str(os.getpid())).open("w+b") as file:
        file.truncate(CELL)
        with (
            mmap.mmap(file.fileno(), CELL) as memory,
            memoryview(memory) as whole,
            whole.cast("q") as cells,
        ):
            yield cells


def count(job: Job) -> None:
    """Count the job. The callback does nothing else."""
    job.component[0] += 1


def total(directory: Path) -> int:
    """Return how many jobs all workers have run so far."""
    return sum(int.from_bytes(path.read_bytes(), "little") for path in directory.iterdir())


def drain(
    env: Environment, jobs: int, *, workers: int, middleware: Sequence[MiddlewareSpec] = ()
) -> Sequence[Sample]:
    """Run `jobs` jobs, put before, through the product, and return the samples of their number.

    Raises BenchmarkFailed unless each job ran exactly once.
    """
    consumer = Consumer(
        QUEUE,
        callback=count,
        component=partial(counter, env.reports),
        concurrency=workers,
        middleware=middleware,
    )
    with ThreadPoolExecutor(1) as pool:
        # Sample from before the start: the first worker does not wait until the last one is up.
        sampling = pool.submit(sample, partial(total, env.reports), jobs)
        with env.supervisor(consumer).start():
            samples = sampling.result()
    env.expect_jobs(0)
    if (runs := total(env.reports)) != jobs:
        raise BenchmarkFailed(f"{jobs} jobs should have run once each, {runs} runs were counted")
    return samples


def sample(read: Callable[[], int], jobs: int) -> Sequence[Sample]:
    """Return samples from the last one without any job to the first one with all jobs."""
    samples = [Sample(time.monotonic(), 0)]
    progress_at = samples[0].seconds
    while samples[-1].jobs < jobs:
        time.sleep(SAMPLE_SECONDS)
        latest = Sample(time.monotonic(), read())
        if latest.jobs > samples[-1].jobs:
            samples.append(latest)
            progress_at = latest.seconds
        elif not latest.jobs:
            samples = [latest]
        if latest.seconds - progress_at > STALL_SECONDS:
            raise BenchmarkFailed(
                f"{latest.jobs} of {jobs} jobs ran, and then none for {STALL_SECONDS:g} s"
            )
    return samples


def speed(samples: Sequence[Sample], first: int, last: int) -> float:
    """Return the jobs per second between two numbers of jobs run."""
    return (last - first) / (time_of(samples, last) - time_of(samples, first))


def time_of(samples: Sequence[Sample], jobs: int) -> float:
    """Return when `jobs` jobs had run. Between two samples, an even speed is assumed."""
    for before, after in itertools.pairwise(samples):
        if before.jobs <= jobs <= after.jobs:
            share = (jobs - before.jobs) / (after.jobs - before.jobs)
            return before.seconds + share * (after.seconds - before.seconds)
    raise BenchmarkFailed(f"no sample around {jobs} jobs")
