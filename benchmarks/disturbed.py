"""A drain by four workers of which one is killed every half second, beside an undisturbed one in the same run."""

import os
import signal
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import tally
from benchmarks.place import QUEUE, BenchmarkFailed, Place, place, say
from benchmarks.report import Figures
from taskmaster import Consumer

JOBS = 800_000
WORKERS = 4
RUNS = 5  # single drains scatter by a fifth
EVERY_SECONDS = 0.5
WITHIN_SECONDS = 60.0
LOOK_SECONDS = 0.01


def measure(url: str) -> Figures:
    calm, disturbed, kills = [], [], 0
    for run in range(RUNS):
        calm.append(drain(url, lambda here: None)[0])
        speed, killed = drain(url, kill_one)
        disturbed.append(speed)
        kills += killed
        say(
            f"disturbed: run {run + 1} of {RUNS}: {speed:,.0f} jobs/s with {killed} kills, {calm[-1]:,.0f} without"
        )
    return {
        "undisturbed_jobs_per_s": statistics.median(calm),
        "disturbed_jobs_per_s": statistics.median(disturbed),
        "disturbed_kills": kills,
        "disturbed_to_undisturbed": statistics.median(
            d / c for d, c in zip(disturbed, calm, strict=True)
        ),
    }


def drain(url: str, disturb: Callable[[Place], None]) -> tuple[float, int]:
    """Jobs per second, from the first job to the last, and how often it was disturbed."""
    with place(url) as here:
        here.put(JOBS)
        consumer = Consumer(
            QUEUE,
            callback=tally.count,
            component=partial(tally.counter, here.reports),
            concurrency=WORKERS,
        )
        with here.supervisor(consumer).start():
            began = time.monotonic()
            first, disturbances, due = None, 0, began + EVERY_SECONDS
            while (ran := tally.total(here.reports)) < JOBS:
                now = time.monotonic()
                first = first or (now if ran else None)
                if now > due:
                    disturb(here)
                    disturbances, due = disturbances + 1, due + EVERY_SECONDS
                if now - began > WITHIN_SECONDS:
                    raise BenchmarkFailed(f"{ran} of {JOBS} jobs ran within {WITHIN_SECONDS:g} s")
                time.sleep(LOOK_SECONDS)
            ended = time.monotonic()
        here.expect_jobs(0)
        return JOBS / (ended - (first or began)), disturbances


def kill_one(here: Place) -> None:
    """SIGKILL the worker that has been there for longest."""
    for path in sorted(here.reports.iterdir(), key=lambda path: path.stat().st_ctime):
        if title(int(path.name)).startswith(f"taskmaster worker {QUEUE}"):
            os.kill(int(path.name), signal.SIGKILL)
            return


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
