"""CPU-heavy jobs on all cores: how much of the machine goes into the callbacks."""

import os
import statistics
import time

from benchmarks import notes
from benchmarks.environment import QUEUE, log, open_environment
from benchmarks.report import Figures
from taskmaster import Job

JOBS_PER_CORE = 100
RUNS = 3  # a run takes five seconds, so other work of the machine shows
JOB_SECONDS = 0.05
CALIBRATION_ITERATIONS = 2_000_000
CALIBRATIONS = 5
WITHIN_SECONDS = 60.0


def measure(url: str) -> Figures:
    """Return the CPU efficiency and the CPU time of a job."""
    runs = [measure_run(url) for _ in range(RUNS)]
    return {
        "cpu_efficiency": statistics.median(efficiency for efficiency, _ in runs),
        "cpu_job_ms": statistics.median(job_ms for _, job_ms in runs),
    }


def measure_run(url: str) -> tuple[float, float]:
    """Return the share of the cores' time spent in callbacks, and the mean CPU ms of a job."""
    cores = len(os.sched_getaffinity(0))
    jobs, iterations = cores * JOBS_PER_CORE, calibrate()
    with open_environment(url) as env:
        with env.publisher() as publisher:
            publisher.put_many(QUEUE, [{"iterations": iterations}] * jobs)
        with env.supervisor(notes.consumer(env, burn, workers=cores)).start():
            lines = notes.wait_for(env, jobs, within_seconds=WITHIN_SECONDS)
        env.expect_jobs(0)
    wall = max(ended for _, ended, _ in lines) - min(began for began, _, _ in lines)
    cpu = sum(seconds for _, _, seconds in lines)
    log(f"cpu: {jobs} jobs of {cpu / jobs * 1000:.0f} ms on {cores} cores in {wall:.2f} s")
    return cpu / cores / wall, cpu / jobs * 1000


def burn(job: Job) -> None:
    """Use the CPU for the job's number of iterations, and note when and how long."""
    began, cpu = time.monotonic(), time.process_time()
    spin(job.payload["iterations"])
    notes.write(job.component, began, time.monotonic(), time.process_time() - cpu)


def spin(iterations: int) -> int:
    value = 1
    for number in range(iterations):
        value = (value * 31 + number) % 1_000_003
    return value


def calibrate() -> int:
    """Return how many iterations take JOB_SECONDS of CPU on the machine when it is warm."""
    fastest = min(spin_seconds() for _ in range(CALIBRATIONS))
    return int(CALIBRATION_ITERATIONS * JOB_SECONDS / fastest)


def spin_seconds() -> float:
    """Return the CPU seconds of one calibration."""
    began = time.process_time()
    spin(CALIBRATION_ITERATIONS)
    return time.process_time() - began
