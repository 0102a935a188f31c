"""Running the jobs of one batch: the hot loop, and what is noted of each run that did not simply ack."""

import logging
import time
from dataclasses import asdict
from typing import NamedTuple

import orjson
import psycopg

from taskmaster.chain import Handler, checked
from taskmaster.consumer import Consumer
from taskmaster.endings import Ending, Failure, Run, ended, released
from taskmaster.errors import JobTimeout
from taskmaster.job import ACK, Job, Outcome, Reject, Retry, Surroundings
from taskmaster.processes import permits
from taskmaster.processes.failures import describe, failure, stack, text_of
from taskmaster.processes.slots import CPU_BEGAN, ENDED, STARTED, STARTED_AT, Slot
from taskmaster.store import leases
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.worker")


class UnreadablePayload(Exception):
    """A payload that came into the table by SQL and cannot be decoded."""


class Place(NamedTuple):
    """Where batches run: all that stays the same for a worker's life."""

    consumer: Consumer
    worker: str
    slot: Slot
    permits_fd: int
    handler: Handler
    surroundings: Surroundings


class Result(NamedTuple):
    """How a batch went: the jobs started, and the endings of those that did not simply ack."""

    started: int
    endings: list[Ending]


def run(place: Place, conn: Connection, lease: leases.Lease) -> Result:
    """Run the jobs in order, as long as there are permits to start them; what was not started is given back."""
    ids = [row.id for row in lease.rows]
    place.slot.begin(lease.token, ids)
    permits.fill(place.permits_fd, len(ids))
    endings: list[Ending] = []
    started = _run_in_order(place, conn, lease, endings)
    if started < len(ids):
        permits.drain(place.permits_fd)
        endings += map(released, ids[started:])
    return Result(started, endings)


def _run_in_order(place: Place, conn: Connection, lease: leases.Lease, endings: list[Ending]) -> int:
    """The hot loop; how many jobs were started. Endings are kept in the slot too, should this process die."""
    cells, permits_fd = place.slot.cells, place.permits_fd
    cpu_watched = place.consumer.cpu_limit_seconds is not None
    for number, row in enumerate(lease.rows):
        if row.rescues and not _marked(conn, lease, row.id):
            return number
        if not permits.take(permits_fd):
            return number
        cells[STARTED_AT] = time.monotonic_ns()
        if cpu_watched:
            cells[CPU_BEGAN] = time.process_time_ns()
        cells[STARTED] = number + 1
        ending = _run_one(place, row)
        if ending is not None:
            endings.append(ending)
            room = place.slot.write(asdict(ending))
            if not room:
                return number + 1
        cells[ENDED] = number + 1
    return len(lease.rows)


def _marked(conn: Connection, lease: leases.Lease, job_id: int) -> bool:
    """Note that a job which was rescued before is about to run; False: it cannot be noted, so it must not run."""
    try:
        return leases.mark_started(conn, lease.token, job_id)
    except psycopg.Error as error:
        log.warning("job %d is given back, its start could not be noted: %s", job_id, error)
        return False


def _run_one(place: Place, row: leases.Row) -> Ending | None:
    """Run the callback in its chain; None: acked. The one place that turns a surprise into an outcome."""
    began = time.monotonic_ns()
    error: BaseException | None = None
    outcome: Outcome
    try:
        outcome = place.handler(_job(row, place.surroundings))
        if outcome is ACK:
            return None
        outcome = checked(outcome, who="a middleware")
    except UnreadablePayload as unreadable:
        outcome = Reject(str(unreadable))
    except BaseException as surprise:  # noqa: BLE001 — SystemExit too: it ends the run, not the worker
        error, outcome = surprise, Retry(reason=describe(surprise))
    seconds = (time.monotonic_ns() - began) / 1e9
    record = _record(place, row, outcome, error, seconds)
    return ended(Run(row.id, row.run_count, row.crashes), outcome, place.consumer, record)


def _job(row: leases.Row, surroundings: Surroundings) -> Job:
    """The job, its JSON decoded. SQL may have put what orjson refuses, like 1e999: it must not stop the others."""
    job_id, queue_name, payload, headers, priority, run_count, created_at, crashes, rescues = row
    try:
        decoded = orjson.loads(payload), None if headers is None else orjson.loads(headers)
    except orjson.JSONDecodeError as error:
        raise UnreadablePayload(f"its payload or headers cannot be read: {error}") from None
    return Job(job_id, queue_name, *decoded, priority, run_count, created_at, crashes, rescues, surroundings)


def _kind(error: BaseException | None) -> str:
    if error is None:
        return "retry"
    return "timeout" if isinstance(error, JobTimeout) else "exception"


def _record(
    place: Place, row: leases.Row, outcome: Outcome, error: BaseException | None, seconds: float
) -> Failure | None:
    """What goes on the job's history; nothing for an ack or a snooze."""
    match outcome:
        case Reject(reason=reason):
            kind = "rejected"
        case Retry(reason=reason):
            kind = _kind(error)
        case _:
            return None
    traceback = None if error is None else stack(error)
    return failure(
        kind, text_of(reason), run=row.run_count, worker=place.worker, duration_seconds=seconds, traceback=traceback
    )
