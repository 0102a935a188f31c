"""Enqueueing: one durable put after the other, and many jobs by COPY."""

import statistics
import time

from benchmarks.environment import QUEUE, log, open_environment
from benchmarks.report import Figures

SINGLE_SECONDS = 3.0
MANY = 200_000
RUNS = 3


def measure(url: str) -> Figures:
    """Return the jobs per second of both."""
    many = []
    for run in range(RUNS):
        many.append(put_many(url))
        log(f"put: put_many, run {run + 1} of {RUNS}: {many[-1]:,.0f} jobs/s")
    return {"put_jobs_per_s": put_single(url), "put_many_jobs_per_s": statistics.median(many)}


def put_single(url: str) -> float:
    with open_environment(url) as env, env.publisher() as publisher:
        publisher.put(QUEUE)  # opens the connection
        put, began = 0, time.monotonic()
        while (seconds := time.monotonic() - began) < SINGLE_SECONDS:
            publisher.put(QUEUE, {"n": put})
            put += 1
        env.expect_jobs(put + 1)
        log(f"put: {put / seconds:,.0f} jobs/s")
        return put / seconds


def put_many(url: str) -> float:
    with open_environment(url) as env, env.publisher() as publisher:
        publisher.put(QUEUE)
        began = time.monotonic()
        publisher.put_many(QUEUE, ({"n": number} for number in range(MANY)))
        seconds = time.monotonic() - began
        env.expect_jobs(MANY + 1)
        return MANY / seconds
