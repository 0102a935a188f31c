"""What `job.progress` costs a callback."""

import statistics
import time
from datetime import UTC, datetime

from benchmarks.report import Figures
from taskmaster import Job
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.worker.context import WorkerJobContext

CALLS = 100_000
RUNS = 5


def measure(url: str) -> Figures:
    """Microseconds of one call, in a worker's slot."""
    job = Job(
        1, "q", {}, None, 0, 1, datetime.now(UTC), context=WorkerJobContext(Scoreboard(1).row(0))
    )
    return {"progress_us": statistics.median(run(job) for _ in range(RUNS))}


def run(job: Job) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        job.progress(number / CALLS, "some pages of many")
    return (time.perf_counter() - began) / CALLS * 1e6
