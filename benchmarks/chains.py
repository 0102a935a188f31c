"""The cost of middlewares: drain no-op jobs through each of them, and through three together."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import counters
from benchmarks.environment import Environment, log, open_environment
from benchmarks.report import Figures
from taskmaster import SupervisorOptions
from taskmaster.consumer import MiddlewareSpec

JOBS = 40_000
WORKERS = 2
RUNS = 3
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
JSON_SCHEMA: MiddlewareSpec = {"use": "json_schema", "schema": SCHEMA}
# No job fails, so nothing is sent to this address.
SENTRY: MiddlewareSpec = {"use": "sentry", "dsn": "http://key@127.0.0.1:9/1"}
CHAINS: Mapping[str, Sequence[MiddlewareSpec]] = {
    "none": [],
    "logging": ["logging"],
    "errors": [{"use": "errors", "reject": ["builtins:ValueError"]}],
    "metrics": ["metrics"],
    "json_schema": [JSON_SCHEMA],
    "sentry": [SENTRY],
    "tracing": ["tracing"],
    "three": ["logging", "metrics", JSON_SCHEMA],
}


def measure(url: str) -> Figures:
    """Return jobs per second of each chain, and the ns per job that it costs more than none."""
    speeds: dict[str, list[float]] = {name: [] for name in CHAINS}
    for run in range(RUNS):  # each chain once per run, so that all meet the same machine
        for name, middleware in CHAINS.items():
            speeds[name].append(drain_speed(url, middleware))
        latest = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items())
        log(f"chains: run {run + 1} of {RUNS}: jobs/s: {latest}")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    costs = {name: WORKERS / speed * 1e9 for name, speed in medians.items()}
    figures = {f"chain_{name}_jobs_per_s": speed for name, speed in medians.items()}
    return figures | {
        f"chain_{name}_ns": cost - costs["none"] for name, cost in costs.items() if name != "none"
    }


def drain_speed(url: str, middleware: Sequence[MiddlewareSpec]) -> float:
    """Return the jobs per second of one drain."""
    options = SupervisorOptions(http="127.0.0.1:0")
    with open_environment(url, options=options) as env, log_to_file(env):
        env.put(JOBS)
        samples = counters.drain(env, JOBS, workers=WORKERS, middleware=middleware)
        return counters.speed(samples, 0, JOBS)


@contextmanager
def log_to_file(env: Environment) -> Iterator[None]:
    """Redirect stderr to a file, where a service's log goes, instead of the terminal."""
    stderr = os.dup(2)
    file = os.open(Path(env.reports).with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(file)
