"""Counts and times of runs, for Prometheus. The supervisor's `http` says where they are scraped.

Written to the worker's own files by prometheus-client's multiprocess mode: nothing waits, and a SIGKILL loses nothing.
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from taskmaster.errors import InvalidConfig
from taskmaster.job import ACK, Job, Outcome
from taskmaster.middleware import Handler, Middleware, define_middleware

# Seconds. Runs: from what costs less than its claim to what takes a quarter of an hour; waits: from 2 ms, the pick-up
# of an idle system, to an hour of backlog.
DURATION_BUCKETS = (
    0.001,
    0.005,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
)
WAIT_BUCKETS = (
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
)

OUTCOMES = ("ack", "reject", "retry", "snooze", "error")

Report = Callable[[Job, float, float, str], None]


class _Metrics(NamedTuple):
    jobs: Counter
    duration: Histogram
    wait: Histogram
    cpu: Counter


@define_middleware(once=True)
def metrics(
    *,
    queue_name: str | None = None,
    duration_buckets: Sequence[float] = DURATION_BUCKETS,
    wait_buckets: Sequence[float] = WAIT_BUCKETS,
) -> Middleware:
    """Count each run by its outcome, and measure how long it took, waited and computed.

    `taskmaster_jobs_total{queue,outcome}` (outcome: ack, reject, retry, snooze, or error for what the callback raised),
    `taskmaster_job_duration_seconds{queue}`, `taskmaster_job_wait_seconds{queue}` (since the job could run, by the
    database's clock and this machine's), `taskmaster_job_cpu_seconds_total{queue}`. Runs of a worker that was killed
    are not among them: `taskmaster_worker_exits_total` counts those by cause. Buckets are in seconds, ascending.
    `queue_name` is the consumer's: its series begin with 0 at the worker's start, so that no first count is missed.

    Raises InvalidConfig for buckets that are none.

    >>> Consumer("thumbnails", callback="images:thumbnail", middleware=["metrics"])  # doctest: +SKIP
    """
    made = _made(
        _checked("duration_buckets", duration_buckets), _checked("wait_buckets", wait_buckets)
    )
    reports: dict[str, Report] = (
        {} if queue_name is None else {queue_name: _report(made, queue_name)}
    )

    def middleware(handler: Handler) -> Handler:
        def measured(job: Job) -> Outcome:
            report = reports.get(job.queue_name) or reports.setdefault(
                job.queue_name, _report(made, job.queue_name)
            )
            began, cpu_began = time.perf_counter(), time.process_time()
            try:
                outcome = handler(job)
            except BaseException:  # only seen, never kept
                report(job, began, cpu_began, "error")
                raise
            report(job, began, cpu_began, "ack" if outcome is ACK else _name(outcome))
            return outcome

        return measured

    return middleware


def _report(made: _Metrics, queue_name: str) -> Report:
    """What enters one run; the labels are looked up once."""
    duration, wait, cpu = (
        made.duration.labels(queue_name),
        made.wait.labels(queue_name),
        made.cpu.labels(queue_name),
    )
    jobs = {outcome: made.jobs.labels(queue_name, outcome) for outcome in OUTCOMES}

    def report(job: Job, began: float, cpu_began: float, outcome: str) -> None:
        ended = time.perf_counter()
        jobs[outcome].inc()
        duration.observe(ended - began)
        cpu.inc(max(0.0, time.process_time() - cpu_began))
        if job.ready_at is not None:
            wait.observe(max(0.0, _now(job.ready_at) - (ended - began)))

    return report


def _name(outcome: object) -> str:
    """What a middleware or a callback answers may be no outcome at all, which ends the run with an error."""
    name = type(outcome).__name__.lower()
    return name if name in OUTCOMES else "error"


def _now(since: datetime) -> float:
    return time.time() - since.timestamp()


def _made(duration_buckets: Sequence[float], wait_buckets: Sequence[float]) -> _Metrics:
    """Each worker makes its own; none is registered, for what is exported are the files that they are written to."""
    by_queue = ["queue"]
    return _Metrics(
        Counter(
            "taskmaster_jobs",
            "Number of runs, by queue and outcome.",
            ["queue", "outcome"],
            registry=None,
        ),
        Histogram(
            "taskmaster_job_duration_seconds",
            "Duration of runs.",
            by_queue,
            buckets=duration_buckets,
            registry=None,
        ),
        Histogram(
            "taskmaster_job_wait_seconds",
            "Time from the moment when a job was ready to its start.",
            by_queue,
            buckets=wait_buckets,
            registry=None,
        ),
        Counter("taskmaster_job_cpu_seconds", "CPU time used by runs.", by_queue, registry=None),
    )


def _checked(option: str, buckets: object) -> Sequence[float]:
    if (
        isinstance(buckets, Sequence)
        and buckets
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in buckets)
        and not any(math.isnan(edge) for edge in buckets)
        and list(buckets) == sorted(set(buckets))
    ):
        return buckets
    raise InvalidConfig(
        f"middleware 'metrics': {option} must be ascending numbers of seconds, got {buckets!r}"
    )
