"""One statement settles a batch and claims the next: both happen or neither."""

import os
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from taskmaster import Admin, Consumer, Job, Outcome, Publisher, State
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import Scoreboard, ScoreboardRow, UnsettledBatch
from taskmaster.processes.supervisor.exits.policy import crash_reports, settlements
from taskmaster.processes.worker import batch
from taskmaster.settlement import Settlement, to_entry
from taskmaster.store import leases
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.crashing_workers import CRASH_AFTER_EXCHANGE, MAX_CRASHES
from tests.support.store import (
    QUEUE,
    claimed,
    ids,
    leases_left,
    put,
    put_many,
    register,
    states,
)
from tests.support.worker_context import worker_context
from tests.support.worker_exits import batch_of_one, exit_of


def test_next_batch_of_a_killed_worker_is_released_uncharged(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    wanted = publisher.put_many("q", [{}] * 20)
    # The next heartbeat, which would find it too, is half a minute away.
    with supervise(
        Consumer("q", callback=ACT, batch=2, component=CRASH_AFTER_EXCHANGE),
        heartbeat_seconds=30.0,
        gone_after_seconds=100.0,
    ):
        eventually(lambda: admin.find(most=1) == [], within=20)
    assert len(journal.lines("crashing")) == MAX_CRASHES
    assert sorted(journal.began()) == wanted
    assert {run.run for run in journal.runs()} == {1}


def test_settle_and_next_claim_both_happen_or_neither(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    us = register(conn)
    claimant, cursor = leases.Claimant(us, "w", QUEUE), Cursor()
    lease = leases.claim(conn, claimant, cursor, batch=1)
    assert lease is not None
    conn.execute(f"alter table leases add constraint refusing check (ids[1] <> {second})")
    with pytest.raises(psycopg.errors.CheckViolation):
        leases.exchange(conn, lease.token, claimant, cursor, batch=1)
    assert states(conn) == {first: State.RUNNING, second: State.READY}
    conn.execute("alter table leases drop constraint refusing")
    settled, following = leases.exchange(conn, lease.token, claimant, Cursor(), batch=1)
    assert settled
    assert following is not None
    assert ids(following) == [second]
    assert states(conn) == {second: State.RUNNING}
    assert leases.exchange(conn, following.token, claimant, cursor, batch=1) == (True, None)
    # It was settled before.
    assert leases.exchange(conn, following.token, claimant, cursor, batch=1) == (
        False,
        None,
    )
    assert leases_left(conn) == 0


def test_job_with_a_recorded_settlement_is_settled_once(
    conn: Connection,
) -> None:
    job_id = put(conn)
    lease = claimed(conn)
    recorded = Settlement(job_id, State.SCHEDULED, charged=True, delay_seconds=60.0)
    batch_of_worker = batch_of_one(job_id, token=lease.token, entries=[to_entry(recorded)])
    worker_exit = exit_of(Consumer(QUEUE, callback=ACT), batch_of_worker)
    found = settlements(worker_exit, batch_of_worker, leases.counts(conn, lease.token))
    assert found == [recorded]
    assert crash_reports(worker_exit, batch_of_worker, found) == []
    assert leases.settle(conn, lease.token, found)
    assert states(conn) == {job_id: State.SCHEDULED}


def test_settlements_too_large_for_the_row_lose_only_details() -> None:
    consumer, scoreboard, permits_fd = (
        Consumer(QUEUE, callback=ACT),
        Scoreboard(1),
        permits.create(),
    )
    row = scoreboard.row(0)
    long = "x" * 15_000

    def failing(job: Job) -> Outcome:
        print(long)
        raise ValueError(long)

    context = worker_context(consumer, row, permits_fd, failing)
    now = datetime.now(UTC)
    rows = [
        leases.ClaimedJob(number, QUEUE, b"{}", None, 0, 1, now, 0, 0, now)
        for number in range(1, 101)
    ]
    try:
        result = batch.run(context, None, leases.Lease(uuid4(), rows))  # type: ignore[arg-type]
        assert (result.started, unsettled_batch(row).unstarted) == (100, [])
        assert [entry["id"] for entry in row.batch.entries()] == list(range(1, 101))
        assert all(entry["failure"]["message"] for entry in row.batch.entries())
    finally:
        for fd in (permits_fd, scoreboard.fd):
            os.close(fd)


def unsettled_batch(row: ScoreboardRow) -> UnsettledBatch:
    batch = row.batch.unsettled()
    assert batch is not None
    return batch
