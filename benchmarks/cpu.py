"""CPU-heavy jobs on all cores: how much of the machine goes into the callbacks."""

import os
import statistics
import time

from benchmarks import notes
from benchmarks.place import QUEUE, place, say
from benchmarks.report import Figures
from taskmaster import Job

JOBS_PER_CORE = 100
RUNS = 3  # a run lasts five seconds: what else the machine does shows
JOB_SECONDS = 0.05
CALIBRATION_TURNS = 2_000_000
CALIBRATIONS = 5
WITHIN_SECONDS = 60.0


def measure(url: str) -> Figures:
    runs = [one_run(url) for _ in range(RUNS)]
    return {
        "cpu_efficiency": statistics.median(efficiency for efficiency, _ in runs),
        "cpu_job_ms": statistics.median(job_ms for _, job_ms in runs),
    }


def one_run(url: str) -> tuple[float, float]:
    """The share of the cores' time that went into callbacks, and the mean of a job's CPU in milliseconds."""
    cores = len(os.sched_getaffinity(0))
    jobs, recycle_permits = cores * JOBS_PER_CORE, calibrated()
    with place(url) as here:
        with here.publisher() as publisher:
            publisher.put_many(QUEUE, [{"turns": recycle_permits}] * jobs)
        with here.supervisor(notes.consumer(here, burn, workers=cores)).start():
            noted = notes.wait_for(here, jobs, within_seconds=WITHIN_SECONDS)
        here.expect_jobs(0)
    wall = max(ended for _, ended, _ in noted) - min(began for began, _, _ in noted)
    burnt = sum(seconds for _, _, seconds in noted)
    say(f"cpu: {jobs} jobs of {burnt / jobs * 1000:.0f} ms on {cores} cores in {wall:.2f} s")
    return burnt / cores / wall, burnt / jobs * 1000


def burn(job: Job) -> None:
    began, cpu = time.monotonic(), time.process_time()
    spin(job.payload["turns"])
    notes.note(job.component, began, time.monotonic(), time.process_time() - cpu)


def spin(recycle_permits: int) -> int:
    value = 1
    for number in range(recycle_permits):
        value = (value * 31 + number) % 1_000_003
    return value


def calibrated() -> int:
    """How many turns take JOB_SECONDS of CPU, at the speed that the machine has when it has warmed up."""
    fastest = min(spun_seconds() for _ in range(CALIBRATIONS))
    return int(CALIBRATION_TURNS * JOB_SECONDS / fastest)


def spun_seconds() -> float:
    began = time.process_time()
    spin(CALIBRATION_TURNS)
    return time.process_time() - began
