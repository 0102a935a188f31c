"""Run a job inside a transaction: lock it, end it, and charge a run whose transaction was lost.

The callback uses the same connection and may change its search path, so every statement names the
schema.
"""

import time
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import kwargs_row

from taskmaster.settlement import SIMPLER_FORMS, Settlement, as_postponed
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor, Place, open_lanes
from taskmaster.store.faults import is_lasting, is_of_job, one_line
from taskmaster.store.leases import ClaimedJob, LeaseCounts
from taskmaster.store.loaders import register_time_loaders
from taskmaster.store.rows import fetch_first, fetch_one
from taskmaster.store.statements import statement_for


class LockedJob(NamedTuple):
    """A job that the transaction has locked, the ctid of its row, and its position."""

    place: str
    position: int
    job: ClaimedJob


class ChargeResult(NamedTuple):
    """`moved`: the run was charged. `locked`: another transaction runs the job at this moment."""

    moved: bool
    locked: bool


class _Find(NamedTuple):
    """A job that was locked, and where the claim cursor has found it."""

    locked_job: LockedJob
    place: Place


def claim_one(conn: Connection, schema: str, queue_name: str, cursor: Cursor) -> LockedJob | None:
    """Lock the next job of a queue until the transaction ends. Return None if there is none."""
    sweep = cursor.is_sweep_due()
    lanes = open_lanes(cursor.start(sweep)) if cursor.skipped else cursor.start(sweep)
    parameters = {"queue_name": queue_name, "priorities": lanes.priorities, "lows": lanes.lows}
    began = time.monotonic()
    query = statement_for("transactions/claim_one", schema)
    # Binary, because the callbacks' session writes times as its role has it.
    cur = psycopg.Cursor(conn, row_factory=kwargs_row(_find))
    register_time_loaders(cur.adapters)
    find = cur.execute(query, parameters, binary=True).fetchone()
    places = [] if find is None else [find.place]
    cursor.record(places, wanted=1, sweep=sweep, seconds=time.monotonic() - began)
    return None if find is None else find.locked_job


def _find(*, place: str, position: int, priority: int, **columns: Any) -> _Find:
    job = ClaimedJob(priority=priority, **columns)
    return _Find(LockedJob(place, position, job), (priority, position))


def end(
    conn: Connection, schema: str, locked_job: LockedJob, settlement: Settlement | None
) -> None:
    """End the job that the transaction has locked. None acks it."""
    if settlement is not None:
        charge(conn, schema, settlement, run=locked_job.job.run_count)
        return
    parameters = {"place": locked_job.place, "id": locked_job.job.id}
    conn.execute(statement_for("transactions/ack_one", schema), parameters)


def charge(conn: Connection, schema: str, settlement: Settlement, *, run: int) -> ChargeResult:
    """Move a job as its settlement says, unless it is gone or this run was charged before.

    Waits if another transaction has the job locked.
    """
    parameters: dict[str, Any] = {
        "id": settlement.id,
        "run": run,
        "state": str(settlement.state),
        "charge": int(settlement.charged),
        "crash": int(settlement.crashed),
        "delay_seconds": float(settlement.delay_seconds),
        "failure": settlement.failure_json,
    }
    query = statement_for("transactions/charge_one", schema)
    return fetch_one(conn, _charge_result, query, parameters)


def _charge_result(*, moved: int, found: int) -> ChargeResult:
    return ChargeResult(moved=moved > 0, locked=found > 0 and not moved)


def charge_lost(
    conn: Connection, schema: str, settlement: Settlement, *, run: int, wait_ms: int
) -> ChargeResult:
    """Charge a run whose transaction was lost, waiting for the transaction that runs the job now.

    The first to wait is the first to get the lock. Without waiting, other workers might take the
    job each time, and no run would be charged.

    If the settlement cannot be written, it is written without texts, or else the job is rejected,
    or else it runs again later, charged. The last comes first if the reason may not last. Raises
    psycopg.Error if that is refused too.
    """
    error: psycopg.Error | None = None
    for simplify in (_as_it_is, *SIMPLER_FORMS, as_postponed):
        is_busy = error is not None and not is_lasting(error)
        if is_busy and simplify is not as_postponed:
            continue
        simple = simplify(settlement, "" if error is None else one_line(error))
        try:
            with conn.transaction():
                query = statement_for("transactions/lock_timeout", schema)
                conn.execute(query, {"wait_ms": wait_ms})
                return charge(conn, schema, simple, run=run)
        except psycopg.Error as refused:
            if not is_of_job(refused, conn):
                if isinstance(refused, psycopg.errors.LockNotAvailable):
                    return ChargeResult(moved=False, locked=True)
                raise
            error = refused
    assert error is not None
    raise error


def _as_it_is(settlement: Settlement, why: str) -> Settlement:
    return settlement


def counts(conn: Connection, schema: str, job_id: int) -> dict[int, LeaseCounts]:
    """Return the counts of the job by its id, if it is in ready."""
    query = statement_for("transactions/counts", schema)
    found = fetch_first(conn, LeaseCounts, query, {"id": job_id})
    return {} if found is None else {job_id: found}


def terminate(conn: Connection, schema: str, backend: int, name: str) -> None:
    """End the server process of a worker that has exited, so that its locks are released."""
    parameters = {"backend": backend, "name": name}
    conn.execute(statement_for("transactions/terminate_backend", schema), parameters)
