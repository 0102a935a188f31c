"""Pick-up latency in an idle system: from before a put to the first line of the callback."""

import time

from benchmarks import notes
from benchmarks.environment import QUEUE, open_environment
from benchmarks.report import Figures, percentile
from taskmaster import Job, Publisher

JOBS = 220
WARM_UP = 20
INTERVAL_SECONDS = 0.05
WORKERS = 2


def measure(url: str) -> Figures:
    """Return percentiles of the latency."""
    with open_environment(url) as env, env.publisher() as publisher:
        with env.supervisor(notes.consumer(env, note_latency, workers=WORKERS)).start():
            put_in_intervals(publisher)
            lines = notes.wait_for(env, JOBS, within_seconds=10.0)
        env.expect_jobs(0)
    # Sorted by the time of the put, because the first jobs are a warm-up.
    latencies = [seconds * 1000 for _, seconds in sorted(map(tuple, lines))][WARM_UP:]
    return {
        "pickup_p50_ms": percentile(latencies, 0.50),
        "pickup_p99_ms": percentile(latencies, 0.99),
    }


def note_latency(job: Job) -> None:
    now = time.monotonic()  # the same clock in all processes
    notes.write(job.component, job.payload["put_at"], now - job.payload["put_at"])


def put_in_intervals(publisher: Publisher) -> None:
    began = time.monotonic()
    for number in range(JOBS):
        time.sleep(max(0.0, began + number * INTERVAL_SECONDS - time.monotonic()))
        publisher.put(QUEUE, {"put_at": time.monotonic()})
