"""A drain while somebody else's snapshot keeps every dead row: it must not slow down as they pile up."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import tally
from benchmarks.place import place, say
from benchmarks.report import Figures

JOBS = 500_000
WARM_UP = 20_000  # run first and not counted: a slow beginning would flatter the end
WORKERS = 2
RUNS = 3  # a tenth lasts some 0.2 s: single runs scatter by a fifth, without the snapshot too


def measure(url: str) -> Figures:
    runs = []
    for run in range(RUNS):
        runs.append(one_run(url))
        say(
            f"pinned: run {run + 1} of {RUNS}: first tenth {runs[-1][0]:,.0f} jobs/s, last {runs[-1][1]:,.0f}"
        )
    return {
        "pinned_first_jobs_per_s": statistics.median(first for first, _ in runs),
        "pinned_last_jobs_per_s": statistics.median(last for _, last in runs),
        "pinned_last_to_first": statistics.median(last / first for first, last in runs),
    }


def one_run(url: str) -> tuple[float, float]:
    """Jobs per second in the first and in the last tenth."""
    end, tenth = WARM_UP + JOBS, JOBS // 10
    with place(url) as here:
        here.put(end)
        with old_snapshot(url):
            samples = tally.drain(here, end, workers=WORKERS)
    return tally.speed(samples, WARM_UP, WARM_UP + tenth), tally.speed(samples, end - tenth, end)


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    """A REPEATABLE READ transaction that has read something and does not end: a report, a backup, a forgotten shell."""
    with psycopg.connect(url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("select count(*) from pg_class")
        yield
