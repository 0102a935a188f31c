"""One run of one job: the callback in its chain, and the record of what went wrong."""

import os
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson
import psycopg

from taskmaster.chain import checked
from taskmaster.consumer import Consumer
from taskmaster.errors import JobTimeout
from taskmaster.job import ACK, Failure, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler
from taskmaster.processes.shared import permits
from taskmaster.processes.shared.failures import Used, describe, failure, stack, text_of
from taskmaster.processes.shared.fd_identity import Identity, identity
from taskmaster.processes.shared.output import STANDARD, flush, tails
from taskmaster.processes.shared.scoreboard import CPU_BEGAN, ERR_AT, OUT_AT, STOP, ScoreboardRow
from taskmaster.processes.worker.context import WorkerJobContext
from taskmaster.settlement import Run, Settlement, ended
from taskmaster.store.leases import ClaimedJob


class UnreadablePayload(Exception):
    """A payload that came into the table by SQL and cannot be decoded."""


class WorkerContext(NamedTuple):
    """Where jobs run: all that stays the same for a worker's life. `permits_file`: what `permits_fd` stands for."""

    consumer: Consumer
    worker: str
    row: ScoreboardRow
    permits_fd: int
    handler: Handler
    job_context: WorkerJobContext
    permits_file: Identity | None

    @property
    def intact(self) -> bool:
        """Are the permits still ours, whatever callbacks have closed and opened?"""
        return identity(self.permits_fd) == self.permits_file

    def allow(self, starts: int) -> None:
        """Allow so many, but none when the worker has been told to leave since it looked: what is put once others have
        taken over is theirs to run. The supervisor writes STOP and then drains, so one of the two comes in time.
        """
        permits.fill(self.permits_fd, starts)
        if self.row.cells[STOP]:
            permits.drain(self.permits_fd)


def unforked(
    callback: Callable[[Job], Outcome | None], job_context: WorkerJobContext
) -> Callable[[Job], Outcome | None]:
    """The callback, from which a child that it forks does not come back: the run and its chain are its parent's."""

    def run(job: Job) -> Outcome | None:
        try:
            return callback(job)
        finally:
            if job_context.forked:
                os._exit(0)

    return run


def run_one(context: WorkerContext, job: ClaimedJob) -> Settlement | None:
    """Run the callback in its chain; None: acked. The one place that turns a surprise into an outcome."""
    began = time.monotonic_ns()
    error: BaseException | None = None
    outcome: Outcome
    try:
        outcome = context.handler(_job(job, context.job_context))
        if outcome is ACK and not context.job_context.forked:
            return None
        outcome = checked(outcome, who="a middleware")
    except UnreadablePayload as unreadable:
        outcome = Reject(str(unreadable))
    except BaseException as surprise:  # noqa: BLE001 — SystemExit too: it ends the run, not the worker
        error, outcome = surprise, Retry(reason=describe(surprise))
    if (
        context.job_context.forked
    ):  # a child of a middleware's that came back from it: the run is its parent's
        os._exit(0)
    record = _record(context, job, outcome, error, (time.monotonic_ns() - began) / 1e9)
    return ended(Run(job.id, job.run_count, job.crashes), outcome, context.consumer, record)


def _job(job: ClaimedJob, job_context: WorkerJobContext) -> Job:
    """The job, its JSON decoded. SQL may have put what orjson refuses, like 1e999: it must not stop the others."""
    (
        job_id,
        queue_name,
        payload,
        headers,
        priority,
        run_count,
        created_at,
        crashes,
        rescues,
        ready_at,
    ) = job
    try:
        decoded = orjson.loads(payload), None if headers is None else orjson.loads(headers)
    except orjson.JSONDecodeError as error:
        raise UnreadablePayload(f"its payload or headers cannot be read: {error}") from None
    return Job(
        job_id,
        queue_name,
        *decoded,
        priority,
        run_count,
        created_at,
        crashes,
        rescues,
        ready_at,
        job_context,
    )


def _record(
    context: WorkerContext,
    job: ClaimedJob,
    outcome: Outcome,
    error: BaseException | None,
    seconds: float,
) -> Failure | None:
    """What goes on the job's history; nothing for an ack, nor for a snooze that can be had."""
    match outcome:
        case Reject(reason=reason):
            cause = "rejected"
        case Retry(reason=reason):
            cause = _cause(context, error)
        case Snooze() if context.consumer.once:
            cause, reason = (
                "rejected",
                "it asked to run later, and delivery = 'at_most_once' never runs a job again",
            )
        case _:
            return None
    return failure(
        cause,
        text_of(reason),
        run=job.run_count,
        worker=context.worker,
        duration_seconds=seconds,
        used=_used(context.row),
        traceback=None if error is None else stack(error),
    )


def _cause(context: WorkerContext, error: BaseException | None) -> str:
    if error is None:
        return "retry"
    connection = context.job_context.user_connection
    if connection is not None and connection.closed and isinstance(error, psycopg.Error):
        return "lost database"
    return "timeout" if isinstance(error, JobTimeout) else "exception"


def _used(row: ScoreboardRow) -> Used:
    cells = row.cells
    cpu = (time.process_time_ns() - cells[CPU_BEGAN]) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    flush()
    try:
        stdout, stderr = tails(STANDARD, (cells[OUT_AT], cells[ERR_AT]))
    except OSError:  # the callback has closed them
        stdout = stderr = ""
    return Used(cpu, peak, stdout, stderr, row.progress())
