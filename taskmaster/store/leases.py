"""Claim a batch, settle it, give back what was not started."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from taskmaster.settlement import Settlement
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES, Cursor, Horizon
from taskmaster.store.statements import statement


class Claimant(NamedTuple):
    """Who claims, and from which queue. `once`: its jobs must never run twice."""

    supervisor: int
    worker: str
    queue_name: str
    once: bool = False


class ClaimedJob(NamedTuple):
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
    jobs: Sequence[ClaimedJob]


class ClaimResult(NamedTuple):
    """`settled`: whether the lease of the batch that was done was still there. `lease`: what is to be run next."""

    settled: bool
    lease: Lease | None


def claim(conn: Connection, claimant: Claimant, cursor: Cursor, *, batch: int) -> Lease | None:
    """Take up to `batch` jobs, highest priority first; None when there is nothing to take."""
    return exchange(conn, None, claimant, cursor, batch=batch).lease


def exchange(
    conn: Connection, done: UUID | None, claimant: Claimant, cursor: Cursor, *, batch: int
) -> ClaimResult:
    """The same, and on the way settle the batch `done`, whose jobs all acked: one round trip, one commit."""
    sweep, began = cursor.is_sweep_due(), time.monotonic()
    parameters = {
        "priorities": PRIORITIES, "lows": cursor.start(sweep), "batch": batch,
        "supervisor": claimant.supervisor, "worker": claimant.worker, "queue_name": claimant.queue_name,
        "once": claimant.once, "done": done, "durable": claimant.once or done is not None,
    }  # fmt: skip
    rows = conn.cursor(binary=True).execute(statement("leases/claim"), parameters).fetchall()
    took = time.monotonic() - began
    settled, token, *first = rows[0]
    found = [] if first[1] is None else rows
    found.sort(key=_order)
    places = [_order(row) for row in found]
    cursor.record(places, wanted=batch, sweep=sweep, seconds=took)
    if cursor.is_horizon_wanted(sweep, took):
        _raise_floors(conn, claimant.queue_name, cursor, cursor.lanes(places, wanted=batch))
    return ClaimResult(
        settled, Lease(token, [ClaimedJob._make(row[3:]) for row in found]) if found else None
    )


def _order(row: tuple[Any, ...]) -> tuple[int, int]:
    """Priority and position."""
    return row[7], row[2]


def _raise_floors(conn: Connection, queue_name: str, cursor: Cursor, lanes: Sequence[int]) -> None:
    began = time.monotonic()
    found = horizon(conn, queue_name, cursor, lanes)
    cursor.raise_floors(lanes, found, seconds=time.monotonic() - began)


def horizon(conn: Connection, queue_name: str, cursor: Cursor, lanes: Sequence[int]) -> Horizon:
    """Return what may still become ready in these priorities, above the cursor's floors."""
    parameters = {
        "queue_name": queue_name,
        "priorities": lanes,
        "lows": [cursor.floors[priority] for priority in lanes],
        "settled": cursor.settled,
    }
    row = conn.execute(statement("leases/horizon"), parameters).fetchone()
    assert row is not None
    drawn, xmin, xmax, lowest = row
    found = {
        priority: position
        for priority, position in zip(lanes, lowest, strict=True)
        if position is not None
    }
    return Horizon(xmin, xmax, drawn, found)


def settle(conn: Connection, token: UUID, settlements: Sequence[Settlement]) -> bool:
    """End a batch: jobs without an ending are acked. False: the lease was lost and nothing was written."""
    if not settlements:
        return conn.execute(statement("leases/ack"), {"token": token}).fetchone() is not None
    ordered = sorted(settlements, key=lambda settlement: settlement.id)
    parameters = {
        "token": token,
        "ids": [settlement.id for settlement in ordered],
        "states": [str(settlement.state) for settlement in ordered],
        "charges": [int(settlement.charged) for settlement in ordered],
        "crashes": [int(settlement.crashed) for settlement in ordered],
        "delays": [float(settlement.delay_seconds) for settlement in ordered],
        "failures": [
            orjson.dumps(settlement.failure).decode() if settlement.failure else None
            for settlement in ordered
        ],
    }
    return conn.execute(statement("leases/settle"), parameters).fetchone() is not None


def release(conn: Connection, token: UUID, ids: Sequence[int]) -> bool:
    """Give back jobs that were not started; the lease stays. False: the lease was lost."""
    return (
        conn.execute(statement("leases/release"), {"token": token, "ids": list(ids)}).fetchone()
        is not None
    )


def release_orphans(conn: Connection, supervisor: int, living: Sequence[str]) -> int:
    """Give back what workers other than the living ones hold; how many jobs."""
    return _count(
        conn, "leases/release_orphans", {"supervisor": supervisor, "living": list(living)}
    )


def release_unacknowledged(conn: Connection, supervisor: int, worker: str) -> int:
    """Give back what a worker holds that has no batch, or is dead and its batch settled; how many jobs."""
    return _count(
        conn, "leases/release_unacknowledged", {"supervisor": supervisor, "worker": worker}
    )


def mark_started(conn: Connection, token: UUID, job_id: int) -> bool:
    """Note durably that a rescued job is about to run. False: the lease was lost."""
    return (
        conn.execute(statement("leases/mark_started"), {"token": token, "id": job_id}).fetchone()
        is not None
    )


def counts(conn: Connection, token: UUID) -> dict[int, tuple[int, int]]:
    """Of each job that the lease still holds: runs and crashes so far."""
    rows = conn.execute(statement("leases/counts"), {"token": token}).fetchall()
    return {job_id: (run_count, crashes) for job_id, run_count, crashes in rows}


def _count(conn: Connection, name: str, parameters: dict[str, Any]) -> int:
    row = conn.execute(statement(name), parameters).fetchone()
    return int(row[0]) if row else 0
