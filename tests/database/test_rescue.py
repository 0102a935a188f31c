"""Supervisors that are gone, and those that only seem so."""

from collections.abc import Callable

from taskmaster.job import State
from taskmaster.store import jobs, leases, supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from tests.support.store import claim, claimed, ids, put, put_many, register, states


def rescue(conn: Connection, supervisor: int, *, gone_after: float = 10.0, max_crashes: int = 3) -> int:
    return supervisors.rescue(conn, supervisor, gone_after=gone_after, max_crashes=max_crashes)


def gone(conn: Connection) -> int:
    """A supervisor that was silent for a moment: with `gone_after` 0 that is enough."""
    return register(conn, silent_for=0.0)


def test_the_jobs_of_a_supervisor_that_is_gone_are_ready_again_and_uncharged(conn: Connection) -> None:
    wanted = put_many(conn, 3)
    lost, us = gone(conn), register(conn)
    claimed(conn, supervisor=lost)
    assert rescue(conn, us, gone_after=0.0) == 3
    again = claimed(conn)
    assert ids(again) == wanted
    assert [row.run_count for row in again.rows] == [1, 1, 1]
    assert [row.rescues for row in again.rows] == [1, 1, 1]  # the rescue is counted


def test_a_living_supervisor_is_not_robbed(conn: Connection) -> None:
    job_id = put(conn)
    living, us = register(conn), register(conn)
    claimed(conn, supervisor=living)
    assert rescue(conn, us) == 0
    assert states(conn) == {job_id: State.RUNNING}


def test_our_own_leases_are_not_rescued_however_late_our_heartbeat_is(conn: Connection) -> None:
    put(conn)
    us = gone(conn)
    claimed(conn, supervisor=us)
    assert rescue(conn, us, gone_after=0.0) == 0


def test_time_during_which_the_server_was_down_counts_for_nobody(conn: Connection) -> None:
    put(conn)
    silent, us = register(conn, silent_for=86_400.0), register(conn)
    claimed(conn, supervisor=silent)
    row = conn.execute("select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8").fetchone()
    assert row is not None
    assert rescue(conn, us, gone_after=row[0] + 60.0) == 0
    assert rescue(conn, us, gone_after=0.0) == 1


def test_leases_of_a_supervisor_that_nobody_knows_are_rescued(conn: Connection) -> None:
    job_id = put(conn)
    claimed(conn, supervisor=987_654)
    assert rescue(conn, register(conn)) == 1
    assert states(conn) == {job_id: State.READY}


def test_the_supervisor_that_was_taken_for_dead_is_told_at_its_next_heartbeat(conn: Connection) -> None:
    late, us = gone(conn), register(conn)
    assert supervisors.heartbeat(conn, late, idle=False, idle_ms=0).alive
    rescue(conn, us, gone_after=0.0)
    assert not supervisors.heartbeat(conn, late, idle=False, idle_ms=0).alive


def test_what_the_lost_supervisor_had_given_back_is_not_rescued_twice(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    lost, us = gone(conn), register(conn)
    leases.release(conn, claimed(conn, supervisor=lost).token, [second])
    assert rescue(conn, us, gone_after=0.0) == 1
    assert states(conn) == {first: State.READY, second: State.READY}


def test_a_heartbeat_in_the_same_moment_saves_the_supervisor(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    job_id = put(conn)
    late, us = gone(conn), register(conn)
    claimed(conn, supervisor=late)
    beating = connection()
    with beating.transaction():  # its row is locked, so the rescue passes over it
        supervisors.heartbeat(beating, late, idle=False, idle_ms=0)
        assert rescue(conn, us, gone_after=0.0) == 0
    assert states(conn) == {job_id: State.RUNNING}


def test_a_job_that_loses_its_host_again_while_it_runs_is_charged_a_crash(conn: Connection) -> None:
    running, waiting = put_many(conn, 2)
    us = register(conn)
    claimed(conn, supervisor=gone(conn))
    rescue(conn, us, gone_after=0.0)
    again = claimed(conn, supervisor=gone(conn))
    assert leases.mark_started(conn, again.token, running)
    rescue(conn, us, gone_after=0.0)
    rows = {row.id: row for row in claimed(conn).rows}
    assert (rows[running].run_count, rows[running].crashes, rows[running].rescues) == (2, 1, 2)
    assert (rows[waiting].run_count, rows[waiting].crashes, rows[waiting].rescues) == (1, 0, 2)
    record = jobs.get(conn, running)
    assert record is not None
    assert record.failures[0]["kind"] == "crash"
    assert "host was lost" in record.failures[0]["message"]


def test_a_job_that_takes_down_one_host_after_the_other_is_rejected(conn: Connection) -> None:
    job_id = put(conn)
    us = register(conn)
    claimed(conn, supervisor=gone(conn))
    rescue(conn, us, gone_after=0.0)
    for _ in range(3):
        lease = claimed(conn, supervisor=gone(conn))
        assert leases.mark_started(conn, lease.token, job_id)
        rescue(conn, us, gone_after=0.0, max_crashes=3)
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.state, record.run_count, len(record.failures)) == (State.REJECTED, 3, 3)


def test_what_a_dead_worker_claimed_with_its_last_breath_is_given_back(conn: Connection) -> None:
    put_many(conn, 4)
    us = register(conn)
    alive = leases.claim(conn, leases.Claimant(us, "alive", "q"), Cursor(), batch=1)
    dead = leases.claim(conn, leases.Claimant(us, "dead", "q"), Cursor(), batch=2)
    other = leases.claim(conn, leases.Claimant(us + 1, "elsewhere", "q"), Cursor(), batch=1)
    assert leases.release_orphans(conn, us, ["alive"]) == 2
    assert ids(claim(conn)) == ids(dead)
    assert alive is not None
    assert other is not None
    assert leases.settle(conn, alive.token, [])
    assert leases.settle(conn, other.token, [])


def test_a_supervisor_that_leaves_in_order_is_forgotten(conn: Connection) -> None:
    us = register(conn)
    supervisors.retire(conn, us)
    assert not supervisors.heartbeat(conn, us, idle=True, idle_ms=0).alive
