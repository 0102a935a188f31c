"""A callback that counts with prometheus-client, as users do. Only the template imports it."""

import os
import signal
import subprocess
import sys

from prometheus_client import Counter, Gauge

from taskmaster import Job

COUNT = "tests.support.counting_callbacks:count"
PROGRAM = (
    "import prometheus_client; "
    "prometheus_client.Counter('x', 'A program that counts for itself.').inc()"
)
THINGS = Counter("test_things", "Counted by callbacks.", ["kind"])
HELD = Gauge("test_held", "Held by running workers.", multiprocess_mode="livesum")


def count(job: Job) -> None:
    """Count one thing of the kind that the payload names, hold one, and do what else it asks."""
    HELD.set(1)
    THINGS.labels(job.payload["kind"]).inc()
    for _ in range(job.payload.get("forks", 0)):
        if (child := os.fork()) == 0:
            for _ in range(1000):
                THINGS.labels(job.payload["kind"]).inc()
            return
        for _ in range(50):
            THINGS.labels(job.payload["kind"]).inc()
        os.waitpid(child, 0)
    if job.payload.get("starts"):
        subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    if job.payload.get("crash") and job.crashes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
