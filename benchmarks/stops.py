"""SIGTERM to exit: of an idle supervisor, and of one whose jobs outlive the grace; nothing may be lost or charged."""

import os
import time
from functools import partial

from benchmarks import notes
from benchmarks.place import QUEUE, BenchmarkFailed, Place, place, say
from benchmarks.report import Figures, percentile
from taskmaster import Admin, Consumer, Job, Supervisor, SupervisorOptions

IDLE_STOPS = 20
LOADED_STOPS = 50
JOBS = 20
WORKERS = 2
GRACE_SECONDS = 0.3
LONG_SECONDS = 30.0


def measure(url: str) -> Figures:
    idle, loaded = [], []
    with place(url) as here:
        for _ in range(IDLE_STOPS):
            idle.append(stop(here, jobs=0))
        say(f"stops: {IDLE_STOPS} idle ones, the slowest in {max(idle) * 1000:.0f} ms")
        with here.publisher() as publisher:
            publisher.put_many(QUEUE, range(JOBS))
        for _ in range(LOADED_STOPS):
            loaded.append(stop(here, jobs=WORKERS))
            expect_untouched(here)
    say(
        f"stops: {LOADED_STOPS} under load with {GRACE_SECONDS:g} s of grace, the slowest in {max(loaded):.2f} s"
    )
    return {
        "stop_idle_p50_ms": percentile(idle, 0.5) * 1000,
        "stop_idle_max_ms": max(idle) * 1000,
        "stop_loaded_beyond_grace_p50_ms": (percentile(loaded, 0.5) - GRACE_SECONDS) * 1000,
        "stop_loaded_beyond_grace_max_ms": (max(loaded) - GRACE_SECONDS) * 1000,
    }


def stop(here: Place, *, jobs: int) -> float:
    """Start a supervisor, wait until so many jobs run, and stop it: seconds from the signal to its exit."""
    path = here.reports / notes.NAME
    path.unlink(missing_ok=True)
    consumer = Consumer(
        QUEUE,
        callback=outlive,
        component=partial(notes.notebook, here.reports),
        concurrency=WORKERS,
    )
    options = SupervisorOptions(grace_seconds=GRACE_SECONDS)
    running = Supervisor(
        here.url, consumers=[consumer], schema=here.schema, options=options
    ).start()
    if jobs:
        notes.wait_for(here, jobs, within_seconds=10.0)
    began = time.monotonic()
    if code := running.stop():
        raise BenchmarkFailed(f"the supervisor left with exit code {code}")
    return time.monotonic() - began


def outlive(job: Job) -> None:
    notes.note(job.component, os.getpid())
    time.sleep(LONG_SECONDS)


def expect_untouched(here: Place) -> None:
    with Admin(here.url, schema=here.schema) as admin:
        found = admin.find()
    if len(found) != JOBS or any(
        job.run_count or job.failures or job.state != "ready" for job in found
    ):
        raise BenchmarkFailed(f"{JOBS} untouched jobs should be ready, there are: {found}")
