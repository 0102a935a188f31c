"""Claim a batch, settle it, give back what was not started."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg

from taskmaster.endings import Ending
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES, Cursor, Horizon
from taskmaster.store.statements import statement

Answer = psycopg.Cursor[Any]


class Claimant(NamedTuple):
    """Who claims, and from which queue. `once`: its jobs must never run twice."""

    supervisor: int
    worker: str
    queue_name: str
    once: bool = False


class Row(NamedTuple):
    """A claimed job: the leading fields of `Job`, payload and headers still JSON."""

    id: int
    queue_name: str
    payload: bytes
    headers: bytes | None
    priority: int
    run_count: int
    created_at: datetime
    crashes: int
    rescues: int
    ready_at: datetime


class Lease(NamedTuple):
    """A claimed batch, first to run first."""

    token: UUID
    rows: Sequence[Row]


class Outcomes(NamedTuple):
    """What a batch came to: jobs without an ending are acked."""

    token: UUID
    endings: Sequence[Ending]


class Exchanged(NamedTuple):
    """`settled`: False, the lease was lost and nothing was written. `lease`: what is to be run next."""

    settled: bool
    lease: Lease | None


def exchange(conn: Connection, outcomes: Outcomes, claimant: Claimant, cursor: Cursor, *, batch: int) -> Exchanged:
    """Settle a batch and claim the next one in one round trip and one transaction: when either fails, neither is."""
    sweep, began = cursor.sweeping(), time.monotonic()
    with conn.pipeline():
        settling = _send_settle(conn, outcomes.token, outcomes.endings)
        claiming = _send_claim(conn, claimant, cursor.start(sweep), batch, durable=True)
    took = time.monotonic() - began
    lease = _claimed(conn, claiming, cursor, batch=batch, sweep=sweep, took=took)
    return Exchanged(settling.fetchone() is not None, lease)


def claim(conn: Connection, claimant: Claimant, cursor: Cursor, *, batch: int) -> Lease | None:
    """Take up to `batch` jobs, highest priority first; None when there is nothing to take."""
    sweep, began = cursor.sweeping(), time.monotonic()
    claiming = _send_claim(conn, claimant, cursor.start(sweep), batch, durable=claimant.once)
    return _claimed(conn, claiming, cursor, batch=batch, sweep=sweep, took=time.monotonic() - began)


def _send_claim(conn: Connection, claimant: Claimant, lows: Sequence[int], batch: int, *, durable: bool) -> Answer:
    parameters = {
        "priorities": PRIORITIES, "lows": lows, "batch": batch, "durable": durable,
        "supervisor": claimant.supervisor, "worker": claimant.worker, "queue_name": claimant.queue_name,
        "once": claimant.once,
    }  # fmt: skip
    return conn.cursor(binary=True).execute(statement("claim"), parameters)


def _claimed(
    conn: Connection, claiming: Answer, cursor: Cursor, *, batch: int, sweep: bool, took: float
) -> Lease | None:
    """Read the answer, and note on the cursor where it was found."""
    rows = claiming.fetchall()
    rows.sort(key=_order)
    places = [_order(row) for row in rows]
    cursor.record(places, wanted=batch, sweep=sweep, seconds=took)
    if cursor.horizon_wanted(sweep, took):
        cursor.raise_floors(places, wanted=batch, horizon=horizon(conn))
    return Lease(rows[0][0], [Row._make(row[2:]) for row in rows]) if rows else None


def _order(row: tuple[Any, ...]) -> tuple[int, int]:
    """Priority and position."""
    return row[6], row[1]


def horizon(conn: Connection) -> Horizon:
    """What is settled by now."""
    row = conn.execute(statement("horizon")).fetchone()
    assert row is not None
    drawn, xmin, xmax = row
    return Horizon(xmin, xmax, drawn)


def settle(conn: Connection, token: UUID, endings: Sequence[Ending]) -> bool:
    """End a batch: jobs without an ending are acked. False: the lease was lost and nothing was written."""
    return _send_settle(conn, token, endings).fetchone() is not None


def _send_settle(conn: Connection, token: UUID, endings: Sequence[Ending]) -> Answer:
    if not endings:
        return conn.execute(statement("ack"), {"token": token})
    ordered = sorted(endings, key=lambda ending: ending.id)
    parameters = {
        "token": token,
        "ids": [ending.id for ending in ordered],
        "states": [str(ending.state) for ending in ordered],
        "charges": [int(ending.charged) for ending in ordered],
        "crashes": [int(ending.crashed) for ending in ordered],
        "delays": [float(ending.delay_seconds) for ending in ordered],
        "failures": [orjson.dumps(ending.failure).decode() if ending.failure else None for ending in ordered],
    }
    return conn.execute(statement("settle"), parameters)


def release(conn: Connection, token: UUID, ids: Sequence[int]) -> bool:
    """Give back jobs that were not started; the lease stays. False: the lease was lost."""
    return conn.execute(statement("release"), {"token": token, "ids": list(ids)}).fetchone() is not None


def release_orphans(conn: Connection, supervisor: int, living: Sequence[str]) -> int:
    """Give back what workers other than the living ones hold; how many jobs."""
    return _count(conn, "release_orphans", {"supervisor": supervisor, "living": list(living)})


def release_forgotten(conn: Connection, claimant: Claimant) -> int:
    """Give back what this worker holds while it has no batch; how many jobs."""
    return _count(conn, "release_forgotten", {"supervisor": claimant.supervisor, "worker": claimant.worker})


def mark_started(conn: Connection, token: UUID, job_id: int) -> bool:
    """Note durably that a rescued job is about to run. False: the lease was lost."""
    return conn.execute(statement("mark_started"), {"token": token, "id": job_id}).fetchone() is not None


def counts(conn: Connection, token: UUID) -> dict[int, tuple[int, int]]:
    """Of each job that the lease still holds: runs and crashes so far."""
    rows = conn.execute(statement("lease_counts"), {"token": token}).fetchall()
    return {job_id: (run_count, crashes) for job_id, run_count, crashes in rows}


def _count(conn: Connection, name: str, parameters: dict[str, Any]) -> int:
    row = conn.execute(statement(name), parameters).fetchone()
    return int(row[0]) if row else 0
