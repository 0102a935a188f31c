"""Enqueueing: one durable put after the other, and many by COPY."""

import statistics
import time

from benchmarks.place import QUEUE, place, say
from benchmarks.report import Figures

SINGLE_SECONDS = 3.0
MANY = 200_000
RUNS = 3


def measure(url: str) -> Figures:
    many = []
    for run in range(RUNS):
        many.append(put_many(url))
        say(f"put: put_many, run {run + 1} of {RUNS}: {many[-1]:,.0f} jobs/s")
    return {"put_jobs_per_s": put_single(url), "put_many_jobs_per_s": statistics.median(many)}


def put_single(url: str) -> float:
    with place(url) as here, here.publisher() as publisher:
        publisher.put(QUEUE)  # opens the connection
        put, began = 0, time.monotonic()
        while (took := time.monotonic() - began) < SINGLE_SECONDS:
            publisher.put(QUEUE, {"n": put})
            put += 1
        here.expect_jobs(put + 1)
        say(f"put: {put / took:,.0f} jobs/s")
        return put / took


def put_many(url: str) -> float:
    with place(url) as here, here.publisher() as publisher:
        publisher.put(QUEUE)
        began = time.monotonic()
        publisher.put_many(QUEUE, ({"n": number} for number in range(MANY)))
        took = time.monotonic() - began
        here.expect_jobs(MANY + 1)
        return MANY / took
