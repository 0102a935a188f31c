"""How long a job put into an idle system waits: from before its put to the first line of its callback."""

import time

from benchmarks import notes
from benchmarks.place import QUEUE, place
from benchmarks.report import Figures, percentile
from taskmaster import Job, Publisher

JOBS = 220
WARM_UP = 20
EVERY_SECONDS = 0.05
WORKERS = 2


def measure(url: str) -> Figures:
    with place(url) as here, here.publisher() as publisher:
        with here.supervisor(notes.consumer(here, arrived, workers=WORKERS)).start():
            put_in_step(publisher)
            noted = notes.wait_for(here, JOBS, within_seconds=10.0)
        here.expect_jobs(0)
    # The clock is the same in all processes. In the order of the puts: the first ones only warm up.
    waits = [waited * 1000 for _, waited in sorted(map(tuple, noted))][WARM_UP:]
    return {"pickup_p50_ms": percentile(waits, 0.50), "pickup_p99_ms": percentile(waits, 0.99)}


def arrived(job: Job) -> None:
    now = time.monotonic()
    notes.note(job.component, job.payload["put_at"], now - job.payload["put_at"])


def put_in_step(publisher: Publisher) -> None:
    began = time.monotonic()
    for number in range(JOBS):
        time.sleep(max(0.0, began + number * EVERY_SECONDS - time.monotonic()))
        publisher.put(QUEUE, {"put_at": time.monotonic()})
