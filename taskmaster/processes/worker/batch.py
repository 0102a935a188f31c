"""Running the jobs of one batch: the hot loop, and what is noted of each run that did not simply ack."""

import logging
import time
from dataclasses import replace
from typing import NamedTuple

import psycopg
from msgspec import structs

from taskmaster.processes.shared import permits
from taskmaster.processes.shared.output import written
from taskmaster.processes.shared.scoreboard import (
    CPU_BEGAN,
    ENDED,
    ERR_AT,
    OUT_AT,
    STARTED,
    STARTED_AT,
    ScoreboardRow,
)
from taskmaster.processes.worker.run import WorkerContext, run_one
from taskmaster.settlement import Settlement, released, to_entry
from taskmaster.store import leases
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.worker")

# In a larger batch jobs take less than half a millisecond: what they use and print is noted from the batch's beginning,
# because to look costs a microsecond and a half per job.
LARGEST_NOTED_BATCH = 50

BRIEF_BYTES = 800  # an ending without these, and its message cut off: so 500 of them have room
BRIEF_MESSAGE = 200


class BatchResult(NamedTuple):
    """How a batch went: the jobs started, and the endings of those that did not simply ack."""

    started: int
    settlements: list[Settlement]


def run(context: WorkerContext, conn: Connection, lease: leases.Lease) -> BatchResult:
    """Run the jobs in order, as long as there are permits to start them; what was not started is given back."""
    ids = [job.id for job in lease.jobs]
    context.row.begin(lease.token, ids)
    note_beginning(context.row)
    context.allow(len(ids))
    settlements: list[Settlement] = []
    started = _run_in_order(context, conn, lease, settlements)
    if started < len(ids):
        if context.intact:
            permits.drain(context.permits_fd)
        settlements += map(released, ids[started:])
    return BatchResult(started, settlements)


def _run_in_order(
    context: WorkerContext, conn: Connection, lease: leases.Lease, settlements: list[Settlement]
) -> int:
    """The hot loop; how many jobs were started. Endings are kept in the slot too, should this process die."""
    cells, permits_fd = context.row.cells, context.permits_fd
    noted = context.consumer.cpu_limit_seconds is not None or len(lease.jobs) <= LARGEST_NOTED_BATCH
    for number, job in enumerate(lease.jobs):
        if job.rescues and not _marked(conn, lease, job.id):
            return number
        if noted and not context.intact:
            return number
        if not permits.take(permits_fd):
            return number
        cells[STARTED_AT] = time.monotonic_ns()
        if noted:
            note_beginning(context.row)
        cells[STARTED] = number + 1
        settlement = run_one(context, job)
        if settlement is not None:
            settlements.append(settlement)
            if not noted_ending(context.row, settlement, others=len(lease.jobs) - number - 1):
                return number + 1
        cells[ENDED] = number + 1
    return len(lease.jobs)


def noted_ending(row: ScoreboardRow, settlement: Settlement, *, others: int) -> bool:
    """Keep the ending in the slot; in brief, when `others` that may follow would find no room beside it."""
    return row.write(to_entry(settlement), leaving=others * BRIEF_BYTES) or row.write(
        to_entry(briefly(settlement))
    )


def briefly(settlement: Settlement) -> Settlement:
    """The ending without what it tells at length."""
    failure = settlement.failure
    if failure is None:
        return settlement
    message = failure.message[:BRIEF_MESSAGE]
    brief = structs.replace(failure, message=message, traceback="", stdout="", stderr="")
    return replace(settlement, failure=brief)


def note_beginning(row: ScoreboardRow) -> None:
    """Note what the worker has used and written by now: the rest is the next run's."""
    cells = row.cells
    cells[CPU_BEGAN] = time.process_time_ns()
    cells[OUT_AT], cells[ERR_AT] = written()


def _marked(conn: Connection, lease: leases.Lease, job_id: int) -> bool:
    """Note that a job which was rescued before is about to run; False: it cannot be noted, so it must not run."""
    try:
        return leases.mark_started(conn, lease.token, job_id)
    except psycopg.Error as error:
        log.warning("job %d is given back, its start could not be noted: %s", job_id, error)
        return False
