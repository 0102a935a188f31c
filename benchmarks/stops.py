"""SIGTERM to exit, for an idle supervisor and for one whose jobs outlive the grace period.

No job may be lost or charged.
"""

import os
import time
from functools import partial

from benchmarks import notes
from benchmarks.environment import QUEUE, BenchmarkFailed, Environment, log, open_environment
from benchmarks.report import Figures, percentile
from taskmaster import Admin, Consumer, Job, Supervisor, SupervisorOptions

IDLE_STOPS = 20
LOADED_STOPS = 50
JOBS = 20
WORKERS = 2
GRACE_SECONDS = 0.3
LONG_SECONDS = 30.0


def measure(url: str) -> Figures:
    """Return how long stops take, under load beyond the grace period."""
    with open_environment(url) as env:
        idle = [stop_seconds(env, jobs=0) for _ in range(IDLE_STOPS)]
        log(f"stops: {IDLE_STOPS} idle ones, the slowest in {max(idle) * 1000:.0f} ms")
        with env.publisher() as publisher:
            publisher.put_many(QUEUE, range(JOBS))
        loaded = [stop_under_load(env) for _ in range(LOADED_STOPS)]
    log(
        f"stops: {LOADED_STOPS} under load with {GRACE_SECONDS:g} s of grace, "
        f"the slowest in {max(loaded):.2f} s"
    )
    return {
        "stop_idle_p50_ms": percentile(idle, 0.5) * 1000,
        "stop_idle_max_ms": max(idle) * 1000,
        "stop_loaded_beyond_grace_p50_ms": (percentile(loaded, 0.5) - GRACE_SECONDS) * 1000,
        "stop_loaded_beyond_grace_max_ms": (max(loaded) - GRACE_SECONDS) * 1000,
    }


def stop_under_load(env: Environment) -> float:
    seconds = stop_seconds(env, jobs=WORKERS)
    expect_unchanged_jobs(env)
    return seconds


def stop_seconds(env: Environment, *, jobs: int) -> float:
    """Stop a new supervisor once `jobs` jobs run, and return the seconds to its exit."""
    (env.reports / notes.NAME).unlink(missing_ok=True)
    component = partial(notes.open_notes, env.reports)
    consumer = Consumer(QUEUE, callback=outlive, component=component, concurrency=WORKERS)
    options = SupervisorOptions(grace_seconds=GRACE_SECONDS)
    supervisor = Supervisor(env.url, consumers=[consumer], schema=env.schema, options=options)
    running = supervisor.start()
    if jobs:
        notes.wait_for(env, jobs, within_seconds=10.0)
    began = time.monotonic()
    if code := running.stop():
        raise BenchmarkFailed(f"the supervisor exited with code {code}")
    return time.monotonic() - began


def outlive(job: Job) -> None:
    """Run for longer than the grace period."""
    notes.write(job.component, os.getpid())
    time.sleep(LONG_SECONDS)


def expect_unchanged_jobs(env: Environment) -> None:
    """Raise BenchmarkFailed unless all jobs are ready and uncharged."""
    with Admin(env.url, schema=env.schema) as admin:
        found = admin.find()
    changed = [job for job in found if job.run_count or job.failures or job.state != "ready"]
    if len(found) != JOBS or changed:
        raise BenchmarkFailed(f"{JOBS} untouched jobs should be ready, there are: {found}")
