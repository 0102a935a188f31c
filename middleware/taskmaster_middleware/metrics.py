"""Count and time runs for Prometheus, which scrapes them at the supervisor's `http`.

The figures are written to the worker's own files by prometheus-client's multiprocess mode, so no
job waits for a lock, and a SIGKILL loses nothing.
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import Counter, Histogram

from taskmaster.errors import InvalidConfig
from taskmaster.job import ACK, Job, Outcome
from taskmaster.middleware import Handler, Middleware, define_middleware

# In seconds: from a run that costs less than its claim to one of a quarter of an hour, and from the
# 2 ms in which an idle system picks up a job to an hour of backlog.
DURATION_BUCKETS = (
    *(0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    *(2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)
WAIT_BUCKETS = (
    *(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
    *(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0),
)

OUTCOMES = ("ack", "reject", "retry", "snooze", "error")
BY_QUEUE = ("queue",)

Record = Callable[[Job, float, float, str], None]


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
    """Count each run by its outcome, and measure its duration, wait and CPU time.

    - `taskmaster_jobs_total{queue,outcome}`: the outcome is ack, reject, retry, snooze, or error if
      the callback raised an exception.
    - `taskmaster_job_duration_seconds{queue}`
    - `taskmaster_job_wait_seconds{queue}`: the time since the job could run, from the database's
      clock to this machine's.
    - `taskmaster_job_cpu_seconds_total{queue}`

    Runs that ended with their worker are in `taskmaster_worker_exits_total` instead, by cause.

    `duration_buckets` and `wait_buckets` are in seconds, ascending. `queue_name` is the consumer's:
    its series start at 0 with the worker, so that a rate sees the first run. Raises InvalidConfig
    if the buckets are not ascending numbers.

    >>> Consumer("mail", callback="mails:send", middleware=["metrics"])  # doctest: +SKIP
    """
    _check_buckets("duration_buckets", duration_buckets)
    _check_buckets("wait_buckets", wait_buckets)
    created = _create_metrics(duration_buckets, wait_buckets)
    records = {} if queue_name is None else {queue_name: _recorder(created, queue_name)}

    def middleware(handler: Handler) -> Handler:
        def metrics_handler(job: Job) -> Outcome:
            record = records.get(job.queue_name)
            if record is None:
                record = records[job.queue_name] = _recorder(created, job.queue_name)
            began, cpu_began = time.perf_counter(), time.process_time()
            try:
                outcome = handler(job)
            except BaseException:  # counted and raised again
                record(job, began, cpu_began, "error")
                raise
            record(job, began, cpu_began, "ack" if outcome is ACK else _label(outcome))
            return outcome

        return metrics_handler

    return middleware


def _recorder(created: _Metrics, queue_name: str) -> Record:
    """Return the function that records one run. It has looked up the labels."""
    duration = created.duration.labels(queue_name)
    wait = created.wait.labels(queue_name)
    cpu = created.cpu.labels(queue_name)
    jobs = {outcome: created.jobs.labels(queue_name, outcome) for outcome in OUTCOMES}

    def record(job: Job, began: float, cpu_began: float, outcome: str) -> None:
        seconds = time.perf_counter() - began
        jobs[outcome].inc()
        duration.observe(seconds)
        cpu.inc(max(0.0, time.process_time() - cpu_began))
        if job.ready_at is not None:
            wait.observe(max(0.0, _seconds_since(job.ready_at) - seconds))

    return record


def _label(outcome: object) -> str:
    """Return the label of an outcome, or "error" for a result that is not an outcome."""
    name = type(outcome).__name__.lower()
    return name if name in OUTCOMES else "error"


def _seconds_since(moment: datetime) -> float:
    return time.time() - moment.timestamp()


def _create_metrics(duration_buckets: Sequence[float], wait_buckets: Sequence[float]) -> _Metrics:
    # Not registered, because the exporter reads the files that the metrics are written to.
    counter = partial(Counter, registry=None)
    histogram = partial(Histogram, labelnames=BY_QUEUE, registry=None)
    return _Metrics(
        counter("taskmaster_jobs", "Number of runs, by outcome.", ("queue", "outcome")),
        histogram(
            "taskmaster_job_duration_seconds",
            "Duration of runs in seconds.",
            buckets=duration_buckets,
        ),
        histogram(
            "taskmaster_job_wait_seconds",
            "Time from when a job could run to the start of its run, in seconds.",
            buckets=wait_buckets,
        ),
        counter("taskmaster_job_cpu_seconds", "CPU time used by runs, in seconds.", BY_QUEUE),
    )


def _check_buckets(option: str, buckets: Any) -> None:
    if not isinstance(buckets, Sequence) or not _are_ascending_numbers(buckets):
        raise InvalidConfig(
            f"middleware 'metrics': {option} must be ascending numbers of seconds, got {buckets!r}"
        )


def _are_ascending_numbers(buckets: Sequence[Any]) -> bool:
    for edge in buckets:
        if not isinstance(edge, int | float) or isinstance(edge, bool) or math.isnan(edge):
            return False
    return bool(buckets) and list(buckets) == sorted(set(buckets))
