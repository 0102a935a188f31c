"""Jobs run inside a transaction: hold one, end it, charge a run whose transaction was lost.

The connection is the callback's too, so its search path is not ours: every statement names the schema.
"""

import time
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg import Cursor as Sql
from psycopg.rows import tuple_row

from taskmaster.settlement import Settlement
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES, Cursor
from taskmaster.store.leases import ClaimedJob
from taskmaster.store.statements import statement_for


class LockedJob(NamedTuple):
    """A job locked by the transaction: where its row is, and the job."""

    place: str
    job: ClaimedJob


class Charged(NamedTuple):
    """`moved`: the run was charged. `locked`: somebody else runs the job at this moment."""

    moved: bool
    locked: bool


def claim_one(conn: Connection, schema: str, queue_name: str, cursor: Cursor) -> LockedJob | None:
    """Lock the next job of a queue until the transaction ends; None when there is nothing."""
    sweep = cursor.is_sweep_due()
    parameters = {"queue_name": queue_name, "priorities": PRIORITIES, "lows": cursor.start(sweep)}
    began = time.monotonic()
    found = (
        Sql(conn, row_factory=tuple_row)
        .execute(statement_for("transactions/claim_one", schema), parameters)
        .fetchone()
    )
    places = [] if found is None else [(found[6], found[1])]
    cursor.record(places, wanted=1, sweep=sweep, seconds=time.monotonic() - began)
    return None if found is None else LockedJob(found[0], ClaimedJob._make(found[2:]))


def end(
    conn: Connection, schema: str, locked_job: LockedJob, settlement: Settlement | None
) -> None:
    """End the job that the transaction holds; None: it is acked."""
    if settlement is None:
        conn.execute(
            statement_for("transactions/ack_one", schema),
            {"place": locked_job.place, "id": locked_job.job.id},
        )
    else:
        charge(conn, schema, settlement, run=locked_job.job.run_count)


def charge(conn: Connection, schema: str, settlement: Settlement, *, run: int) -> Charged:
    """Move a job to where the ending of its run says, unless it is gone or was charged since. Waits for its lock."""
    parameters: dict[str, Any] = {
        "id": settlement.id,
        "run": run,
        "state": str(settlement.state),
        "charge": int(settlement.charged),
        "crash": int(settlement.crashed),
        "delay_seconds": float(settlement.delay_seconds),
        "failure": orjson.dumps(settlement.failure).decode() if settlement.failure else None,
    }
    row = (
        Sql(conn, row_factory=tuple_row)
        .execute(statement_for("transactions/charge_one", schema), parameters)
        .fetchone()
    )
    assert row is not None
    moved, there = row
    return Charged(moved > 0, there > 0 and not moved)


def charge_lost(
    conn: Connection, schema: str, settlement: Settlement, *, run: int, wait_ms: int
) -> Charged:
    """Charge a run whose transaction was lost, waiting for whoever runs the job by now.

    Who waits is first when the job is let go of. Else other workers might take it each time, and nobody was charged.
    """
    try:
        with conn.transaction():
            conn.execute(statement_for("transactions/lock_timeout", schema), {"wait_ms": wait_ms})
            return charge(conn, schema, settlement, run=run)
    except psycopg.errors.LockNotAvailable:
        return Charged(moved=False, locked=True)


def counts(conn: Connection, schema: str, job_id: int) -> dict[int, tuple[int, int]]:
    """Runs and crashes so far of the job, when it is in ready."""
    row = (
        Sql(conn, row_factory=tuple_row)
        .execute(statement_for("transactions/counts", schema), {"id": job_id})
        .fetchone()
    )
    return {} if row is None else {job_id: (row[0], row[1])}


def terminate(conn: Connection, schema: str, backend: int, name: str) -> None:
    """End the server process of a worker that is dead, so that its locks go."""
    conn.execute(
        statement_for("transactions/terminate_backend", schema), {"backend": backend, "name": name}
    )
