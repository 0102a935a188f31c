"""The cost of `job.progress` for a callback."""

import statistics
import time
from datetime import UTC, datetime

from benchmarks.report import Figures
from taskmaster import Job
from taskmaster.processes.shared.scoreboard import Scoreboard
from taskmaster.processes.worker.context import WorkerJobContext

CALLS = 100_000
RUNS = 5


def measure(url: str) -> Figures:
    """Return the microseconds of one call that writes to a scoreboard row."""
    job = Job(
        id=1,
        queue_name="q",
        payload={},
        headers=None,
        priority=0,
        run_count=1,
        created_at=datetime.now(UTC),
        context=WorkerJobContext(Scoreboard(1).row(0)),
    )
    return {"progress_us": statistics.median(call_microseconds(job) for _ in range(RUNS))}


def call_microseconds(job: Job) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        job.progress(number / CALLS, "some pages of many")
    return (time.perf_counter() - began) / CALLS * 1e6
