"""Settling one batch and claiming the next is one statement: what dies or stops around it loses and blocks nothing."""

import os
import signal
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from taskmaster import Admin, Consumer, Job, Outcome, Publisher, State
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import Scoreboard, ScoreboardRow, UnsettledBatch
from taskmaster.processes.supervisor.exits.policy import crash_reports, settlements
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.worker import batch
from taskmaster.processes.worker.context import WorkerContext, WorkerJobContext
from taskmaster.settlement import Settlement, to_entry
from taskmaster.store import leases, supervisors
from taskmaster.store.connection import BoundedConnection, Connection, connect
from taskmaster.store.cursor import Cursor
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.crashing_workers import DIES, MOST_DEATHS
from tests.support.server import SCHEMA
from tests.support.store import (
    QUEUE,
    claim,
    claimed,
    ids,
    leases_left,
    put,
    put_many,
    register,
    states,
)
from tests.support.worker_exits import batch_of_one, exit_of


def test_next_batch_of_a_killed_worker_is_released_uncharged(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    wanted = publisher.put_many("q", [{}] * 20)
    # The next heartbeat, which would find it too, is half a minute away.
    with supervise(
        Consumer("q", callback=ACT, batch=2, component=DIES),
        heartbeat_seconds=30.0,
        gone_after_seconds=100.0,
    ):
        eventually(lambda: admin.find(most=1) == [], within=20)
    assert len(journal.lines("dying")) == MOST_DEATHS
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
    assert leases.exchange(conn, following.token, claimant, cursor, batch=1) == (
        False,
        None,
    )  # it was settled before
    assert leases_left(conn) == 0


def test_locked_lease_does_not_block_the_rescue_of_others(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    stuck, free = put_many(conn, 2)
    lost = register(conn)
    held = claim(conn, batch=1, supervisor=lost)
    assert held is not None
    claim(conn, batch=1, supervisor=lost)
    ((heard,),) = conn.execute(
        "select heartbeat_at from supervisors where id = %s", (lost,)
    ).fetchall()
    other = connection()
    with other.transaction():
        other.execute("select from leases where token = %s for update", (held.token,))
        assert supervisors.rescue(conn, [supervisors.Silent(lost, heard, True)], max_crashes=3) == 1
        assert states(conn) == {stuck: State.RUNNING, free: State.READY}
    assert supervisors.rescue(conn, [], max_crashes=3) == 1
    assert states(conn) == {stuck: State.READY, free: State.READY}


def test_job_with_a_recorded_settlement_is_settled_once(
    conn: Connection,
) -> None:
    job_id = put(conn)
    lease = claimed(conn)
    noted = Settlement(job_id, State.SCHEDULED, charged=True, delay_seconds=60.0)
    unsettled_batch = batch_of_one(job_id, token=lease.token, entries=[to_entry(noted)])
    worker_exit = exit_of(Consumer(QUEUE, callback=ACT), unsettled_batch)
    found = settlements(worker_exit, unsettled_batch, leases.counts(conn, lease.token))
    assert found == [noted]
    assert crash_reports(worker_exit, unsettled_batch, found) == []
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

    context = WorkerContext(
        consumer, "w", row, permits_fd, failing, WorkerJobContext(row), identity(permits_fd)
    )
    rows = [
        leases.ClaimedJob(number, QUEUE, b"{}", None, 0, 1, None, 0, 0, None)  # type: ignore[arg-type]
        for number in range(1, 101)
    ]
    try:
        result = batch.run(context, None, leases.Lease(uuid4(), rows))  # type: ignore[arg-type]
        assert (result.started, unsettled(row).unstarted) == (100, [])
        assert [entry["id"] for entry in row.batch.entries()] == list(range(1, 101))
        assert all(entry["failure"]["message"] for entry in row.batch.entries())
    finally:
        for fd in (permits_fd, scoreboard.fd):
            os.close(fd)


def test_server_that_does_not_respond_is_disconnected(database_url: str) -> None:
    with connect(database_url, SCHEMA) as conn:
        assert isinstance(conn, BoundedConnection)
        conn.patience_seconds = 0.2
        with pytest.raises(
            psycopg.OperationalError, match=r"the server has not answered within 0\.2 s"
        ):
            conn.execute("select pg_sleep(50)")
        assert conn.closed


def test_sigchld_ignored_by_one_job_hides_no_exit_code_from_next(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    consumer = Consumer("q", callback="tests.support.misbehaving_callbacks:signals", batch=1)
    with supervise(consumer):
        publisher.put("q", {"do": "ignore"})
        publisher.put("q", {"do": "call"})
        eventually(lambda: admin.find(most=1) == [])
    assert [line["code"] for line in journal.lines("code")] == [1]


def test_stopped_supervisor_holds_no_session_and_no_lock(
    supervise: Supervise, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    def sessions() -> list[object]:
        return conn.execute(
            "select application_name from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and application_name like 'taskmaster %'"
        ).fetchall()

    def locks() -> list[object]:
        return conn.execute(
            "select locktype, objid from pg_locks where pid <> pg_backend_pid()"
            " and database = (select oid from pg_database where datname = current_database())"
        ).fetchall()

    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        publisher.put_many("q", [{}] * 50)
        eventually(lambda: len(journal.finished()) == 50)
        eventually(lambda: len(sessions()) == 4)  # supervisor, listener, two workers
        supervisor.signal(supervisor.workers()[0], signal.SIGKILL)
        eventually(lambda: len(supervisor.workers()) == 2)
        supervisor.left()
        eventually(lambda: sessions() == [])
    eventually(lambda: locks() == [])  # autovacuum has some for a moment


def unsettled(row: ScoreboardRow) -> UnsettledBatch:
    batch = row.batch.unsettled()
    assert batch is not None
    return batch
