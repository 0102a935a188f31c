"""A callback that counts with prometheus-client, as users' own do. Imported by the template only."""

import os
import signal

from prometheus_client import Counter, Gauge

from taskmaster import Job

COUNT = "tests.support.counters:count"
THINGS = Counter("test_things", "Counted by callbacks.", ["kind"])
HELD = Gauge("test_held", "What the living hold.", multiprocess_mode="livesum")


def count(job: Job) -> None:
    """Count one thing of the kind that the payload names, hold one, and die when it says so."""
    THINGS.labels(job.payload["kind"]).inc()
    HELD.set(1)
    if job.payload.get("dies") and job.crashes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
