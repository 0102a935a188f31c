"""Draining a full queue of jobs that do nothing: the product, and the raw ceiling between its runs."""

import statistics

from benchmarks import raw, tally
from benchmarks.place import place, say
from benchmarks.report import Figures

JOBS = 200_000
WORKERS = 2
RUNS = 3
WARM_UP = 20_000


def measure(url: str) -> Figures:
    raw_run(url, WARM_UP)
    product_run(url, WARM_UP)
    ceilings, speeds = [], []
    for run in range(RUNS):
        ceilings.append(raw_run(url, JOBS))
        speeds.append(product_run(url, JOBS))
        say(f"drain: run {run + 1} of {RUNS}: {speeds[-1]:,.0f} jobs/s, raw {ceilings[-1]:,.0f}")
    speed, ceiling = statistics.median(speeds), statistics.median(ceilings)
    return {
        "drain_jobs_per_s": speed,
        "drain_raw_jobs_per_s": ceiling,
        "drain_to_raw": speed / ceiling,
    }


def raw_run(url: str, jobs: int) -> float:
    with place(url) as here:
        here.put(jobs)
        return raw.drain(here, jobs, processes=WORKERS)


def product_run(url: str, jobs: int) -> float:
    with place(url) as here:
        here.put(jobs)
        return tally.speed(tally.drain(here, jobs, workers=WORKERS), 0, jobs)
