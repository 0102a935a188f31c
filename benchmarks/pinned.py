"""A drain while a foreign snapshot keeps every dead row: their number must not slow it down."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import counters
from benchmarks.environment import log, open_environment
from benchmarks.report import Figures

JOBS = 500_000
WARM_UP = 20_000  # run first and not counted: a slow beginning would flatter the end
WORKERS = 2
RUNS = 3  # a tenth takes about 0.2 s, and single runs scatter by a fifth even without the snapshot


def measure(url: str) -> Figures:
    """Return the speed of the first and of the last tenth, and their ratio."""
    runs = []
    for run in range(RUNS):
        runs.append(measure_run(url))
        first, last = runs[-1]
        log(f"pinned: run {run + 1} of {RUNS}: first tenth {first:,.0f} jobs/s, last {last:,.0f}")
    return {
        "pinned_first_jobs_per_s": statistics.median(first for first, _ in runs),
        "pinned_last_jobs_per_s": statistics.median(last for _, last in runs),
        "pinned_last_to_first": statistics.median(last / first for first, last in runs),
    }


def measure_run(url: str) -> tuple[float, float]:
    """Return the jobs per second in the first and in the last tenth of one drain."""
    end, tenth = WARM_UP + JOBS, JOBS // 10
    with open_environment(url) as env:
        env.put(end)
        with old_snapshot(url):
            samples = counters.drain(env, end, workers=WORKERS)
    first = counters.speed(samples, WARM_UP, WARM_UP + tenth)
    return first, counters.speed(samples, end - tenth, end)


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    """Hold a REPEATABLE READ transaction open, as a report, a backup or an idle shell does."""
    with psycopg.connect(url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("select count(*) from pg_class")
        yield
