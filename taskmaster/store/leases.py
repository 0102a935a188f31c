"""Claim a batch, settle it, and release what has not started."""

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from taskmaster.failure import Used, make_failure
from taskmaster.job import State
from taskmaster.settlement import SIMPLER_FORMS, Settlement
from taskmaster.settlement import release as release_of
from taskmaster.store.apart import spoiled_items
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import MOST_HELD, Cursor, Horizon, Place
from taskmaster.store.faults import is_lasting, is_of_job, one_line
from taskmaster.store.rows import fetch_all, fetch_column, fetch_one, fetch_value
from taskmaster.store.statements import statement


class Claimant(NamedTuple):
    """The worker that claims, and from which queue. `once`: its jobs must never run twice."""

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


# The columns of a claim, in this order. Only these rows are read by position: reading them by name
# adds 0.6 µs to the 5 µs that a job's claim and ack take in worker and server. A test compares this
# with the statement.
CLAIM_COLUMNS = ("settled", "token", "position", *ClaimedJob._fields)
TOKEN, POSITION, FIRST_OF_JOB = 1, 2, 3
ID, PRIORITY = FIRST_OF_JOB, FIRST_OF_JOB + ClaimedJob._fields.index("priority")


MAY_HAVE_RUN = (
    "it may have run, and the database has lost its end in a failover; "
    "delivery = 'at_most_once' never runs a job again"
)


Spoiled = Sequence[tuple[Settlement, psycopg.Error]]


class Lease(NamedTuple):
    """A claimed batch, in the order in which its jobs run."""

    token: UUID
    jobs: Sequence[ClaimedJob]


class ClaimResult(NamedTuple):
    """`settled`: whether the lease of the batch that was done existed. `lease`: the next batch."""

    settled: bool
    lease: Lease | None


class LeaseCounts(NamedTuple):
    """The runs and crashes of a job before its present run."""

    run_count: int
    crashes: int


class SettleResult(NamedTuple):
    """`settled`: whether the lease existed. `spoiled`: jobs that cannot be settled in any form.

    `left`: why the lease is still there, although it is empty.
    """

    settled: bool
    spoiled: Spoiled = ()
    left: psycopg.Error | None = None


class _Look(NamedTuple):
    """The row of leases/horizon."""

    drawn: int
    xmin: int
    xmax: int
    lowest: Sequence[int | None]
    held_priorities: Sequence[int]
    held_positions: Sequence[int]


def claim(conn: Connection, claimant: Claimant, cursor: Cursor, *, batch: int) -> Lease | None:
    """Claim up to `batch` jobs, highest priority first. Return None if there are none."""
    return exchange(conn, None, claimant, cursor, batch=batch).lease


def exchange(
    conn: Connection, done: UUID | None, claimant: Claimant, cursor: Cursor, *, batch: int
) -> ClaimResult:
    """Claim a batch, and settle on the way the batch `done`, whose jobs all acked.

    One round trip and one commit.
    """
    sweep, began = cursor.is_sweep_due(), time.monotonic()
    parameters = {
        **cursor.start(sweep)._asdict(), "batch": batch,
        "supervisor": claimant.supervisor, "worker": claimant.worker,
        "queue_name": claimant.queue_name, "once": claimant.once,
        "done": done, "durable": claimant.once or done is not None,
    }  # fmt: skip
    rows = conn.cursor(binary=True).execute(statement("leases/claim"), parameters).fetchall()
    seconds = time.monotonic() - began
    settled, token = rows[0][0], rows[0][TOKEN]
    found = [] if rows[0][ID] is None else sorted(rows, key=_place)
    places = [_place(row) for row in found]
    cursor.record(places, wanted=batch, sweep=sweep, seconds=seconds)
    if cursor.is_horizon_wanted(sweep, seconds):
        _raise_floors(conn, claimant.queue_name, cursor, cursor.lanes(places, wanted=batch))
    jobs = [ClaimedJob._make(row[FIRST_OF_JOB:]) for row in found]
    return ClaimResult(settled, Lease(token, jobs) if jobs else None)


def _place(row: tuple[Any, ...]) -> Place:
    return row[PRIORITY], row[POSITION]


def _raise_floors(conn: Connection, queue_name: str, cursor: Cursor, lanes: Sequence[int]) -> None:
    began = time.monotonic()
    horizon = _look_at_horizon(conn, queue_name, cursor, lanes)
    cursor.raise_floors(lanes, horizon, seconds=time.monotonic() - began)


def _look_at_horizon(
    conn: Connection, queue_name: str, cursor: Cursor, lanes: Sequence[int]
) -> Horizon:
    parameters = {
        "queue_name": queue_name,
        "priorities": lanes,
        "lows": [cursor.floors[priority] for priority in lanes],
        "settled": cursor.settled,
        "held_priorities": [priority for priority, _ in cursor.held],
        "held_positions": [position for _, position in cursor.held],
        "most_held": MOST_HELD + 1,
    }
    look = fetch_one(conn, _Look, statement("leases/horizon"), parameters)
    pairs = zip(lanes, look.lowest, strict=True)
    lowest = {priority: position for priority, position in pairs if position is not None}
    held = list(zip(look.held_priorities, look.held_positions, strict=True))
    return Horizon(xmin=look.xmin, xmax=look.xmax, drawn=look.drawn, lowest=lowest, held=held)


def settle(conn: Connection, token: UUID, settlements: Sequence[Settlement]) -> bool:
    """Settle a batch. Its jobs without a settlement are acked.

    Return False if the lease was lost and nothing was written.
    """
    if not settlements:
        return fetch_value(conn, statement("leases/ack"), {"token": token}) is not None
    parameters = _settle_parameters(token, settlements)
    return fetch_value(conn, statement("leases/settle"), parameters) is not None


def settle_some(conn: Connection, token: UUID, settlements: Sequence[Settlement]) -> bool:
    """Settle these jobs of a batch. The lease stays. Return False if the lease was lost."""
    parameters = _settle_parameters(token, settlements)
    return fetch_value(conn, statement("leases/settle_some"), parameters) is not None


def settle_in_any_form(
    conn: Connection, token: UUID, settlements: Sequence[Settlement]
) -> SettleResult:
    """Settle a batch, each job by itself if the outcome of one cannot be written.

    That job is settled without its texts, or else rejected. If that is refused too, it stays in the
    lease.
    """
    try:
        return SettleResult(settle(conn, token, settlements))
    except psycopg.Error as error:
        if not is_of_job(error, conn):
            raise
    if not settle_some(conn, token, []):
        return SettleResult(False)
    return _settle_apart(conn, token, settlements)


def _settle_apart(conn: Connection, token: UUID, settlements: Sequence[Settlement]) -> SettleResult:
    """Settle each job of a batch by itself."""
    work = partial(settle_some, conn, token)
    spoiled = spoiled_items(conn, work, settlements)
    busy = [(settlement, error) for settlement, error in spoiled if not is_lasting(error)]
    spoiled = [(settlement, error) for settlement, error in spoiled if is_lasting(error)]
    for simplify in SIMPLER_FORMS:
        simple = [simplify(settlement, one_line(error)) for settlement, error in spoiled]
        spoiled = spoiled_items(conn, work, simple)
    spoiled += busy
    if spoiled:
        _keep_only(conn, token, [settlement.id for settlement, _ in spoiled])
        return SettleResult(True, spoiled)
    return SettleResult(True, left=_end(conn, token))


def _end(conn: Connection, token: UUID) -> psycopg.Error | None:
    """Delete a lease, or empty it and return the error if the database refuses that."""
    try:
        settle(conn, token, [])
    except psycopg.Error as error:
        if not is_of_job(error, conn):
            raise
        _keep_only(conn, token, [])
        return error
    return None


def _keep_only(conn: Connection, token: UUID, ids: Sequence[int]) -> None:
    conn.execute(statement("leases/keep_only"), {"token": token, "ids": list(ids)})


def _settle_parameters(token: UUID, settlements: Sequence[Settlement]) -> dict[str, Any]:
    ordered = sorted(settlements, key=lambda settlement: settlement.id)
    return {
        "token": token,
        "ids": [settlement.id for settlement in ordered],
        "states": [str(settlement.state) for settlement in ordered],
        "charges": [int(settlement.charged) for settlement in ordered],
        "crashes": [int(settlement.crashed) for settlement in ordered],
        "delays": [float(settlement.delay_seconds) for settlement in ordered],
        "failures": [settlement.failure_json for settlement in ordered],
    }


def release(conn: Connection, token: UUID, ids: Sequence[int]) -> bool:
    """Release jobs that have not started. The lease stays. Return False if the lease was lost."""
    return settle_some(conn, token, [release_of(job_id) for job_id in ids])


def release_orphans(
    conn: Connection, supervisor: int, living: Sequence[str], *, reject_once: bool = False
) -> int:
    """Release the leases of a supervisor's workers that do not live. Return how many jobs.

    A worker that has exited may have claimed a batch in its last moment. With `reject_once`, jobs
    that must never run twice are rejected, because they may have run.
    """
    parameters = {"worker": None, "living": list(living), "reject_once": reject_once}
    return _release_workers(conn, supervisor, parameters)


def release_unacknowledged(
    conn: Connection, supervisor: int, worker: str, *, reject_once: bool = False
) -> int:
    """Release all leases of a worker that runs no batch, or whose last batch is settled.

    Its claims were committed, but their replies were lost. Return how many jobs there were. With
    `reject_once`, jobs that must never run twice are rejected, because they may have run.
    """
    parameters = {"worker": worker, "living": None, "reject_once": reject_once}
    return _release_workers(conn, supervisor, parameters)


def reject_lease(conn: Connection, token: UUID, *, worker: str) -> None:
    """Reject the jobs of a batch of `worker`, which must never run twice and may have run."""
    found = [
        _may_have_run(job_id, before, worker) for job_id, before in counts(conn, token).items()
    ]
    settle(conn, token, found)


def _may_have_run(job_id: int, before: LeaseCounts, worker: str) -> Settlement:
    record = make_failure(
        "lost database",
        MAY_HAVE_RUN,
        run=before.run_count + 1,
        worker=worker,
        duration_seconds=0.0,
        used=Used(0.0, 0.0),
    )
    return Settlement(job_id, State.REJECTED, charged=True, failure=record)


def _release_workers(conn: Connection, supervisor: int, parameters: dict[str, Any]) -> int:
    everything = {"supervisor": supervisor, "message": MAY_HAVE_RUN, **parameters}
    return int(fetch_value(conn, statement("leases/release_workers"), everything))


def tokens_of(conn: Connection, supervisor: int, worker: str) -> list[UUID]:
    """Return the tokens of a worker's leases."""
    parameters = {"supervisor": supervisor, "worker": worker}
    return fetch_column(conn, statement("leases/tokens"), parameters)


def mark_started(conn: Connection, token: UUID, job_id: int) -> bool:
    """Note durably that a job which was rescued before is about to run.

    Return False if the lease was lost.
    """
    parameters = {"token": token, "id": job_id}
    return fetch_value(conn, statement("leases/mark_started"), parameters) is not None


def counts(conn: Connection, token: UUID) -> dict[int, LeaseCounts]:
    """Return the counts of each job that the lease still holds, by id."""
    pairs = fetch_all(conn, _count_by_id, statement("leases/counts"), {"token": token})
    return dict(pairs)


def _count_by_id(*, id: int, run_count: int, crashes: int) -> tuple[int, LeaseCounts]:
    return id, LeaseCounts(run_count, crashes)
