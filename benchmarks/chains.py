"""What middlewares cost: draining jobs that do nothing through each alone, and through three together."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import tally
from benchmarks.place import Place, place, say
from benchmarks.report import Figures
from taskmaster import SupervisorOptions
from taskmaster.consumer import MiddlewareSpec

JOBS = 40_000
WORKERS = 2
RUNS = 3
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
CHECKED: MiddlewareSpec = {"use": "json_schema", "schema": SCHEMA}
UNSENT: MiddlewareSpec = {
    "use": "sentry",
    "dsn": "http://key@127.0.0.1:9/1",
}  # nothing fails, so nothing is sent
CHAINS: Mapping[str, Sequence[MiddlewareSpec]] = {
    "none": [],
    "logging": ["logging"],
    "errors": [{"use": "errors", "reject": ["builtins:ValueError"]}],
    "metrics": ["metrics"],
    "json_schema": [CHECKED],
    "sentry": [UNSENT],
    "tracing": ["tracing"],
    "three": ["logging", "metrics", CHECKED],
}


def measure(url: str) -> Figures:
    """Jobs per second with each, and the nanoseconds of a worker that a job costs more than without any."""
    speeds: dict[str, list[float]] = {name: [] for name in CHAINS}
    for run in range(RUNS):  # each once per run, so that they see the same machine
        for name, middleware in CHAINS.items():
            speeds[name].append(drained(url, middleware))
        said = ", ".join(f"{name} {made[-1]:,.0f}" for name, made in speeds.items())
        say(f"chains: run {run + 1} of {RUNS}: jobs/s: {said}")
    medians = {name: statistics.median(made) for name, made in speeds.items()}
    costs = {name: WORKERS / speed * 1e9 for name, speed in medians.items()}
    figures = {f"chain_{name}_jobs_per_s": speed for name, speed in medians.items()}
    return figures | {
        f"chain_{name}_ns": cost - costs["none"] for name, cost in costs.items() if name != "none"
    }


def drained(url: str, middleware: Sequence[MiddlewareSpec]) -> float:
    with place(url, options=SupervisorOptions(http="127.0.0.1:0")) as here, log_in(here):
        here.put(JOBS)
        return tally.speed(tally.drain(here, JOBS, workers=WORKERS, middleware=middleware), 0, JOBS)


@contextmanager
def log_in(here: Place) -> Iterator[None]:
    """Have what is logged go to a file, as a service's log does, and not to the terminal."""
    kept = os.dup(2)
    file = os.open(Path(here.reports).with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)
