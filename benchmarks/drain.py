"""Drain a full queue of no-op jobs with the product, and with the raw ceiling between its runs."""

import statistics

from benchmarks import counters, raw
from benchmarks.environment import log, open_environment
from benchmarks.report import Figures

JOBS = 200_000
WORKERS = 2
RUNS = 3
WARM_UP = 20_000


def measure(url: str) -> Figures:
    """Return the speed of the product and of the raw ceiling, and their ratio."""
    raw_speed(url, WARM_UP)
    product_speed(url, WARM_UP)
    ceilings, speeds = [], []
    for run in range(RUNS):
        ceilings.append(raw_speed(url, JOBS))
        speeds.append(product_speed(url, JOBS))
        log(f"drain: run {run + 1} of {RUNS}: {speeds[-1]:,.0f} jobs/s, raw {ceilings[-1]:,.0f}")
    speed, ceiling = statistics.median(speeds), statistics.median(ceilings)
    return {
        "drain_jobs_per_s": speed,
        "drain_raw_jobs_per_s": ceiling,
        "drain_to_raw": speed / ceiling,
    }


def raw_speed(url: str, jobs: int) -> float:
    with open_environment(url) as env:
        env.put(jobs)
        return raw.drain(env, jobs, processes=WORKERS)


def product_speed(url: str, jobs: int) -> float:
    with open_environment(url) as env:
        env.put(jobs)
        return counters.speed(counters.drain(env, jobs, workers=WORKERS), 0, jobs)
