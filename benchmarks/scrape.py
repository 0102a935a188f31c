"""Scrape a supervisor with 64 workers that have all counted jobs, and a million ready jobs."""

import time
from collections.abc import Sequence
from urllib.request import urlopen

from benchmarks.environment import BenchmarkFailed, Environment, log, open_environment
from benchmarks.report import Figures, percentile
from taskmaster import Consumer, Job, Publisher, Supervisor, SupervisorOptions

WORKERS = 64
READY = 1_000_000
SCRAPES = 200
PORT = 19_464
COUNTED, FULL = "counted", "full"
WITHIN_SECONDS = 120.0
POLL_SECONDS = 0.1
OPTIONS = SupervisorOptions(http=f"127.0.0.1:{PORT}", grace_seconds=0.1)


def measure(url: str) -> Figures:
    """Return percentiles of the duration of a scrape."""
    with open_environment(url, options=OPTIONS) as env:
        with env.publisher() as publisher:
            fill(publisher)
        with supervisor(env).start(within_seconds=WITHIN_SECONDS):
            wait_for_counts()
            times = [scrape_ms() for _ in range(SCRAPES)]
    log(f"scrape: {SCRAPES} scrapes of {WORKERS} workers: p50 {percentile(times, 0.5):.1f} ms")
    return {"scrape_p50_ms": percentile(times, 0.5), "scrape_p99_ms": percentile(times, 0.99)}


def fill(publisher: Publisher) -> None:
    publisher.put_many(FULL, ({} for _ in range(READY)))
    publisher.put_many(COUNTED, [{}] * WORKERS * 4)


def supervisor(env: Environment) -> Supervisor:
    consumers: Sequence[Consumer] = [
        Consumer(
            COUNTED, callback=run_briefly, concurrency=WORKERS, middleware=["metrics"], batch=1
        ),
        Consumer(FULL, callback=block, middleware=["metrics"], batch=1),
    ]
    return Supervisor(env.url, consumers=consumers, schema=env.schema, options=env.options)


def run_briefly(job: Job) -> None:
    """Take long enough that no worker runs the jobs of all others."""
    time.sleep(0.1)


def block(job: Job) -> None:
    """Keep the only worker of the queue busy, so that the queue stays full."""
    time.sleep(WITHIN_SECONDS)


def wait_for_counts() -> None:
    """Wait until all workers and the million jobs have been counted."""
    deadline = time.monotonic() + WITHIN_SECONDS
    all_runs = f'taskmaster_jobs_total{{outcome="ack",queue="{COUNTED}"}} {float(WORKERS * 4)}'
    while all_runs not in (text := fetch_metrics()) or ready_jobs(text) != READY - 1:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"the workers had not counted within {WITHIN_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def ready_jobs(text: str) -> float:
    start = f'taskmaster_queue_jobs{{queue="{FULL}",state="ready"}} '
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return float(lines[0].removeprefix(start)) if lines else 0.0


def scrape_ms() -> float:
    """Return the milliseconds of one scrape."""
    began = time.perf_counter()
    fetch_metrics()
    return (time.perf_counter() - began) * 1000


def fetch_metrics() -> str:
    with urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=WITHIN_SECONDS) as response:
        return str(response.read().decode())
