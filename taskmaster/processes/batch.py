"""Running the jobs of one batch: the hot loop, and what is noted of each run that did not simply ack."""

import logging
import time
from dataclasses import asdict
from typing import NamedTuple

import psycopg

from taskmaster.chain import Handler, checked
from taskmaster.consumer import Consumer
from taskmaster.endings import Ending, Failure, Run, ended, released
from taskmaster.job import ACK, Job, Outcome, Reject, Retry, Surroundings
from taskmaster.processes import permits
from taskmaster.processes.failures import describe, failure, stack
from taskmaster.processes.slots import ENDED, STARTED, STARTED_AT, Slot
from taskmaster.store import leases
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.worker")


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
    ids = [row[0] for row in lease.rows]
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
    cells, permits_fd, surroundings = place.slot.cells, place.permits_fd, place.surroundings
    for number, row in enumerate(lease.rows):
        job = Job(*row, surroundings)
        if job.rescues and not _marked(conn, lease, job):
            return number
        if not permits.take(permits_fd):
            return number
        cells[STARTED_AT] = time.monotonic_ns()
        cells[STARTED] = number + 1
        ending = _run_one(place, job)
        if ending is not None:
            endings.append(ending)
            room = place.slot.write(asdict(ending))
            if not room:
                return number + 1
        cells[ENDED] = number + 1
    return len(lease.rows)


def _marked(conn: Connection, lease: leases.Lease, job: Job) -> bool:
    """Note that a job which was rescued before is about to run; False: it cannot be noted, so it must not run."""
    try:
        return leases.mark_started(conn, lease.token, job.id)
    except psycopg.Error as error:
        log.warning("job %d is given back, its start could not be noted: %s", job.id, error)
        return False


def _run_one(place: Place, job: Job) -> Ending | None:
    """Run the callback in its chain. The one place that turns a surprise into an outcome."""
    began = time.monotonic_ns()
    try:
        outcome = place.handler(job)
        if outcome is ACK:
            return None
        error, outcome = None, checked(outcome)
    except BaseException as surprise:  # noqa: BLE001 — SystemExit and KeyboardInterrupt too: they end the run, not the worker
        error, outcome = surprise, Retry(reason=describe(surprise))
    seconds = (time.monotonic_ns() - began) / 1e9
    record = _record(place, job, outcome, error, seconds)
    return ended(Run(job.id, job.run_count, job.crashes), outcome, place.consumer, record)


def _record(place: Place, job: Job, outcome: Outcome, error: BaseException | None, seconds: float) -> Failure | None:
    """What goes on the job's history; nothing for an ack or a snooze."""
    match outcome:
        case Reject(reason=reason):
            kind = "rejected"
        case Retry(reason=reason):
            kind = "retry" if error is None else "exception"
        case _:
            return None
    traceback = None if error is None else stack(error)
    return failure(
        kind, str(reason), run=job.run_count, worker=place.worker, duration_seconds=seconds, traceback=traceback
    )
