"""How many jobs ran, and when: each worker counts in a file mapped into memory, and we read the files.

To count costs a job about 0.15 µs, and to read costs no statement.
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

from benchmarks.place import QUEUE, BenchmarkFailed, Place
from taskmaster import Consumer, Job
from taskmaster.consumer import MiddlewareSpec

CELL = 8
EVERY_SECONDS = 0.01
STALLED_SECONDS = 20.0


class Sample(NamedTuple):
    """So many jobs had run at that time (monotonic, in seconds)."""

    seconds: float
    jobs: int


@contextmanager
def counter(directory: Path) -> Iterator[memoryview]:
    """The worker's own count: the component of its jobs."""
    with (directory / str(os.getpid())).open("w+b") as file:
        file.truncate(CELL)
        with (
            mmap.mmap(file.fileno(), CELL) as memory,
            memoryview(memory) as whole,
            whole.cast("q") as cells,
        ):
            yield cells


def count(job: Job) -> None:
    """The callback that does nothing else."""
    job.component[0] += 1


def total(directory: Path) -> int:
    """Jobs run by all workers until now."""
    return sum(int.from_bytes(path.read_bytes(), "little") for path in directory.iterdir())


def drain(
    place: Place, jobs: int, *, workers: int, middleware: Sequence[MiddlewareSpec] = ()
) -> Sequence[Sample]:
    """Run all `jobs`, put before the start, through the product; how that went. Raises BenchmarkFailed."""
    component = partial(counter, place.reports)
    consumer = Consumer(
        QUEUE, callback=count, component=component, concurrency=workers, middleware=middleware
    )
    with ThreadPoolExecutor(1) as pool:
        # Watched from before the start: the first worker does not wait until the last is up.
        watching = pool.submit(watch, partial(total, place.reports), jobs)
        with place.supervisor(consumer).start():
            samples = watching.result()
    place.expect_jobs(0)
    if (ran := total(place.reports)) != jobs:
        raise BenchmarkFailed(f"{jobs} jobs should have run once each, {ran} runs were counted")
    return samples


def watch(read: Callable[[], int], jobs: int) -> Sequence[Sample]:
    """Samples from the last one without any job to the first one with all of them."""
    samples = [Sample(time.monotonic(), 0)]
    moved = samples[0].seconds
    while samples[-1].jobs < jobs:
        time.sleep(EVERY_SECONDS)
        seen = Sample(time.monotonic(), read())
        if seen.jobs > samples[-1].jobs:
            samples.append(seen)
            moved = seen.seconds
        elif not seen.jobs:
            samples = [seen]
        if seen.seconds - moved > STALLED_SECONDS:
            raise BenchmarkFailed(
                f"{seen.jobs} of {jobs} jobs ran, and then none for {STALLED_SECONDS:g} s"
            )
    return samples


def speed(samples: Sequence[Sample], first: int, last: int) -> float:
    """Jobs per second between two numbers of jobs run."""
    return (last - first) / (reached(samples, last) - reached(samples, first))


def reached(samples: Sequence[Sample], jobs: int) -> float:
    """When so many jobs had run: between two samples, as if at an even speed."""
    for before, after in itertools.pairwise(samples):
        if before.jobs <= jobs <= after.jobs:
            share = (jobs - before.jobs) / (after.jobs - before.jobs)
            return before.seconds + share * (after.seconds - before.seconds)
    raise BenchmarkFailed(f"no sample around {jobs} jobs")
