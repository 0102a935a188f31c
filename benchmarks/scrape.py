"""Scraping a supervisor with 64 workers that have all counted, beside a queue of a million ready jobs."""

import time
from collections.abc import Sequence
from urllib.request import urlopen

from benchmarks.place import BenchmarkFailed, Place, place, say
from benchmarks.report import Figures, percentile
from taskmaster import Consumer, Job, Publisher, Supervisor, SupervisorOptions

WORKERS = 64
READY = 1_000_000
SCRAPES = 200
PORT = 19_464
COUNTED, FULL = "counted", "full"
WITHIN_SECONDS = 120.0
LOOK_SECONDS = 0.1


def measure(url: str) -> Figures:
    with place(url, options=SupervisorOptions(http=f"127.0.0.1:{PORT}", grace_seconds=0.1)) as here:
        with here.publisher() as publisher:
            fill(publisher)
        with supervisor(here).start(within_seconds=WITHIN_SECONDS):
            until_counted()
            took = sorted(scraped() for _ in range(SCRAPES))
    say(f"scrape: {SCRAPES} scrapes of {WORKERS} workers: p50 {percentile(took, 0.5):.1f} ms")
    return {"scrape_p50_ms": percentile(took, 0.5), "scrape_p99_ms": percentile(took, 0.99)}


def fill(publisher: Publisher) -> None:
    publisher.put_many(FULL, ({} for _ in range(READY)))
    publisher.put_many(COUNTED, [{}] * WORKERS * 4)


def supervisor(here: Place) -> Supervisor:
    consumers: Sequence[Consumer] = [
        Consumer(
            COUNTED, callback=takes_a_while, concurrency=WORKERS, middleware=["metrics"], batch=1
        ),
        Consumer(FULL, callback=waits, middleware=["metrics"], batch=1),
    ]
    return Supervisor(here.url, consumers=consumers, schema=here.schema, options=here.options)


def takes_a_while(job: Job) -> None:
    """So that no worker does the work of all."""
    time.sleep(0.1)


def waits(job: Job) -> None:
    """The queue stays as full as it is."""
    time.sleep(WITHIN_SECONDS)


def until_counted() -> None:
    """Wait until all workers have counted, and the million too."""
    deadline = time.monotonic() + WITHIN_SECONDS
    ran = f'taskmaster_jobs_total{{outcome="ack",queue="{COUNTED}"}} {float(WORKERS * 4)}'
    while ran not in (text := page()) or ready_jobs(text) != READY - 1:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"the workers had not counted within {WITHIN_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def ready_jobs(text: str) -> float:
    start = f'taskmaster_queue_jobs{{queue="{FULL}",state="ready"}} '
    return next(
        (float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)),
        0.0,
    )


def scraped() -> float:
    """Milliseconds of one scrape."""
    began = time.perf_counter()
    page()
    return (time.perf_counter() - began) * 1000


def page() -> str:
    with urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=WITHIN_SECONDS) as answer:
        return str(answer.read().decode())
