"""The loop over the jobs of one batch, in the worker.

The settlements of runs that did not simply ack are also written to the scoreboard, where the
supervisor finds them if the worker is killed.
"""

import logging
import time
from dataclasses import replace
from typing import NamedTuple

import psycopg
from msgspec import structs

from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import (
    ENDED,
    STARTED,
    STARTED_NS,
    Baseline,
    ScoreboardRow,
)
from taskmaster.processes.worker.context import WorkerContext
from taskmaster.processes.worker.run import run_one
from taskmaster.settlement import Settlement, release, to_entry
from taskmaster.store import leases
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.worker")

# Jobs of a larger batch take less than half a millisecond each. Their CPU time and output are
# counted from the start of the batch, because a baseline per job costs 2.5 µs.
MOST_BASELINES = 50

# The size of a settlement without its long texts and with its message cut, so that 500 of them fit
# into a row.
BRIEF_BYTES = 800
BRIEF_MESSAGE = 200


class BatchResult(NamedTuple):
    """The number of jobs started, and the settlements of those that did not simply ack."""

    started: int
    settlements: list[Settlement]


def run(context: WorkerContext, conn: Connection, lease: leases.Lease) -> BatchResult:
    """Run the jobs in order, as long as there are permits to start them. Release the others."""
    ids = [job.id for job in lease.jobs]
    context.row.batch.begin(lease.token, ids)
    note_baseline(context)
    context.allow_starts(len(ids))
    settlements: list[Settlement] = []
    started = _run_in_order(context, conn, lease, settlements)
    if started < len(ids):
        if context.has_permits_file:
            permits.drain(context.permits_fd)
        settlements += map(release, ids[started:])
    return BatchResult(started, settlements)


def _run_in_order(
    context: WorkerContext, conn: Connection, lease: leases.Lease, settlements: list[Settlement]
) -> int:
    """Return how many jobs were started.

    This is the hot loop, so it writes to the scoreboard's cells itself. Settlements are written to
    the row too, for the case that this process is killed.
    """
    cells, permits_fd = context.row.cells, context.permits_fd
    has_cpu_limit = context.consumer.cpu_limit_seconds is not None
    takes_baselines = has_cpu_limit or len(lease.jobs) <= MOST_BASELINES
    for number, job in enumerate(lease.jobs):
        if job.rescues and not _mark_started(conn, lease, job.id):
            return number
        if takes_baselines and not context.has_permits_file:
            return number
        if not permits.take(permits_fd):
            return number
        cells[STARTED_NS] = time.monotonic_ns()
        if takes_baselines:
            note_baseline(context)
        cells[STARTED] = number + 1
        settlement = run_one(context, job)
        if settlement is not None:
            settlements.append(settlement)
            others = len(lease.jobs) - number - 1
            if not write_settlement(context.row, settlement, others=others):
                return number + 1
        cells[ENDED] = number + 1
        if takes_baselines:
            context.guard.restore()
    return len(lease.jobs)


def write_settlement(row: ScoreboardRow, settlement: Settlement, *, others: int) -> bool:
    """Write the settlement to the row, in brief if `others` more would then not fit."""
    if row.batch.write_entry(to_entry(settlement), reserve_bytes=others * BRIEF_BYTES):
        return True
    return row.batch.write_entry(to_entry(_in_brief(settlement)))


def note_baseline(context: WorkerContext) -> None:
    """Note the CPU time and output so far: what comes later belongs to the next run."""
    context.row.batch.note_baseline(Baseline(time.process_time_ns(), context.output.lengths()))


def _in_brief(settlement: Settlement) -> Settlement:
    """Return the settlement without its long texts."""
    failure = settlement.failure
    if failure is None:
        return settlement
    message = failure.message[:BRIEF_MESSAGE]
    brief = structs.replace(failure, message=message, traceback="", stdout="", stderr="")
    return replace(settlement, failure=brief)


def _mark_started(conn: Connection, lease: leases.Lease, job_id: int) -> bool:
    """Note durably that a rescued job is about to run. If that fails, it must not run."""
    try:
        return leases.mark_started(conn, lease.token, job_id)
    except psycopg.Error as error:
        log.warning("job released, its start could not be noted: job=%d: %s", job_id, error)
        return False
