"""Rescue: leases of supervisors that are gone are released, and no others."""

from collections.abc import Callable

from taskmaster.job import State
from taskmaster.store import jobs, leases, supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from tests.support.store import beat, claim, claimed, ids, put, put_many, register, rescue, states
from tests.support.waiting import eventually

UNREGISTERED = 987_654  # a supervisor whose leases are released at once


def test_jobs_of_a_lost_supervisor_are_released_uncharged(
    conn: Connection,
) -> None:
    wanted = put_many(conn, 3)
    lost = register(conn)
    claimed(conn, supervisor=lost)
    assert rescue(conn, lost) == 3
    again = claimed(conn)
    assert ids(again) == wanted
    assert [row.run_count for row in again.jobs] == [1, 1, 1]
    assert [row.rescues for row in again.jobs] == [1, 1, 1]  # the rescue is counted


def test_a_supervisor_with_a_newer_heartbeat_is_not_rescued(conn: Connection) -> None:
    job_id = put(conn)
    living = register(conn)
    claimed(conn, supervisor=living)
    (latest,) = conn.execute("select heartbeat_at from supervisors").fetchall()
    beat(conn, living)
    assert (
        supervisors.rescue(
            conn, [supervisors.SilentSupervisor(living, latest[0], True)], max_crashes=3
        )
        == 0
    )
    assert states(conn) == {job_id: State.RUNNING}


def test_a_supervisor_with_a_session_is_rescued_once_given_up(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    job_id = put(conn)
    stalled, session = register(conn), connection()
    latest = beat(session, stalled)
    assert latest is not None
    assert latest.locked
    claimed(conn, supervisor=stalled)
    assert rescue(conn, stalled) == 0
    assert states(conn) == {job_id: State.RUNNING}
    assert rescue(conn, stalled, given_up=True) == 1
    session.close()


def test_a_supervisor_without_a_session_is_rescued(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    put(conn)
    gone, session = register(conn), connection()
    beat(session, gone)
    claimed(conn, supervisor=gone)
    session.close()
    eventually(lambda: rescue(conn, gone) == 1)


def test_leases_of_an_unregistered_supervisor_are_rescued(conn: Connection) -> None:
    job_id = put(conn)
    claimed(conn, supervisor=UNREGISTERED)
    assert rescue(conn) == 1
    assert states(conn) == {job_id: State.READY}


def test_a_rescued_supervisor_learns_it_at_its_next_heartbeat(
    conn: Connection,
) -> None:
    late = register(conn)
    assert beat(conn, late) is not None
    rescue(conn, late, given_up=True)
    assert beat(conn, late) is None


def test_jobs_released_before_are_not_rescued_again(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    lost = register(conn)
    leases.release(conn, claimed(conn, supervisor=lost).token, [second])
    assert rescue(conn, lost) == 1
    assert states(conn) == {first: State.READY, second: State.READY}


def test_a_heartbeat_at_the_same_time_prevents_the_rescue(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    job_id = put(conn)
    late = register(conn)
    claimed(conn, supervisor=late)
    beating = connection()
    with beating.transaction():  # its row is locked, so the rescue skips it
        beat(beating, late)
        assert rescue(conn, late, given_up=True) == 0
    assert states(conn) == {job_id: State.RUNNING}


def test_a_job_that_loses_its_host_twice_is_charged_a_crash(conn: Connection) -> None:
    running, waiting = put_many(conn, 2)
    claimed(conn, supervisor=UNREGISTERED)
    rescue(conn)
    again = claimed(conn, supervisor=UNREGISTERED)
    assert leases.mark_started(conn, again.token, running)
    rescue(conn)
    rows = {row.id: row for row in claimed(conn).jobs}
    assert (rows[running].run_count, rows[running].crashes, rows[running].rescues) == (2, 1, 2)
    assert (rows[waiting].run_count, rows[waiting].crashes, rows[waiting].rescues) == (1, 0, 2)
    record = jobs.get(conn, running)
    assert record is not None
    assert record.failures[0].cause == "lost host"
    assert record.failures[0].message == "its supervisor was lost again while it ran"


def test_a_job_that_loses_host_after_host_is_rejected(conn: Connection) -> None:
    job_id = put(conn)
    claimed(conn, supervisor=UNREGISTERED)
    rescue(conn)
    for _ in range(3):
        lease = claimed(conn, supervisor=UNREGISTERED)
        assert leases.mark_started(conn, lease.token, job_id)
        rescue(conn, max_crashes=3)
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.state, record.run_count, len(record.failures)) == (State.REJECTED, 3, 3)


def test_the_leases_of_an_exited_worker_are_released(conn: Connection) -> None:
    put_many(conn, 4)
    us = register(conn)
    alive = leases.claim(conn, leases.Claimant(us, "alive", "q"), Cursor(), batch=1)
    gone = leases.claim(conn, leases.Claimant(us, "gone", "q"), Cursor(), batch=2)
    other = leases.claim(conn, leases.Claimant(us + 1, "elsewhere", "q"), Cursor(), batch=1)
    assert leases.release_orphans(conn, us, ["alive"]) == 2
    assert ids(claim(conn)) == ids(gone)
    assert alive is not None
    assert other is not None
    assert leases.settle(conn, alive.token, [])
    assert leases.settle(conn, other.token, [])


def test_a_retired_supervisor_is_no_longer_registered(conn: Connection) -> None:
    us = register(conn)
    supervisors.retire(conn, us)
    assert beat(conn, us) is None
