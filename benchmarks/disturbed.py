"""A drain by four workers of which one is killed every half second, next to an undisturbed one."""

import os
import signal
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import counters
from benchmarks.environment import QUEUE, BenchmarkFailed, Environment, log, open_environment
from benchmarks.report import Figures
from taskmaster import Consumer

JOBS = 800_000
WORKERS = 4
RUNS = 5  # single drains scatter by a fifth
KILL_INTERVAL_SECONDS = 0.5
WITHIN_SECONDS = 60.0
POLL_SECONDS = 0.01


def measure(url: str) -> Figures:
    """Return the speed of both drains, their ratio, and the number of kills."""
    calm, disturbed, kills = [], [], 0
    for run in range(RUNS):
        calm.append(drain(url, lambda env: None)[0])
        speed, killed = drain(url, kill_oldest)
        disturbed.append(speed)
        kills += killed
        log(
            f"disturbed: run {run + 1} of {RUNS}: {speed:,.0f} jobs/s with {killed} kills, "
            f"{calm[-1]:,.0f} without"
        )
    ratios = [d / c for d, c in zip(disturbed, calm, strict=True)]
    return {
        "undisturbed_jobs_per_s": statistics.median(calm),
        "disturbed_jobs_per_s": statistics.median(disturbed),
        "disturbed_kills": kills,
        "disturbed_to_undisturbed": statistics.median(ratios),
    }


def drain(url: str, disturb: Callable[[Environment], None]) -> tuple[float, int]:
    """Return the jobs per second from the first job to the last, and the number of disturbances."""
    with open_environment(url) as env:
        env.put(JOBS)
        consumer = Consumer(
            QUEUE,
            callback=counters.count,
            component=partial(counters.counter, env.reports),
            concurrency=WORKERS,
        )
        with env.supervisor(consumer).start():
            seconds, disturbances = watch(env, disturb)
        env.expect_jobs(0)
        return JOBS / seconds, disturbances


def watch(env: Environment, disturb: Callable[[Environment], None]) -> tuple[float, int]:
    """Disturb the drain in intervals, and return its seconds and the number of disturbances."""
    began = time.monotonic()
    first, disturbances, due = None, 0, began + KILL_INTERVAL_SECONDS
    while (runs := counters.total(env.reports)) < JOBS:
        now = time.monotonic()
        first = first or (now if runs else None)
        if now > due:
            disturb(env)
            disturbances, due = disturbances + 1, due + KILL_INTERVAL_SECONDS
        if now - began > WITHIN_SECONDS:
            raise BenchmarkFailed(f"{runs} of {JOBS} jobs ran within {WITHIN_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - (first or began), disturbances


def kill_oldest(env: Environment) -> None:
    """SIGKILL the worker that has been running for longest."""
    for path in sorted(env.reports.iterdir(), key=lambda path: path.stat().st_ctime):
        if process_title(int(path.name)).startswith(f"taskmaster worker {QUEUE}"):
            os.kill(int(path.name), signal.SIGKILL)
            return


def process_title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
