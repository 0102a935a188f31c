"""Rows and tables that other sessions have locked. A supervisor goes on with everything else."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State, SupervisorOptions
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.database_services import database_services
from tests.support.project import Project, project
from tests.support.store import claim, put, put_many, register, states
from tests.support.waiting import pause

RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": 1.0}


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


@contextmanager
def lock(conn: Connection, table: str) -> Iterator[None]:
    """Keep all other sessions from writing to a table."""
    with conn.transaction():
        conn.execute(f"lock table {table} in share row exclusive mode")
        yield


def test_settlement_waiting_for_a_lock_delays_no_heartbeat(
    here: Project,
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    connection: Callable[[], Connection],
) -> None:
    here.configure({"concurrency": 2, "batch": 1}, **RESCUE)
    here.start()
    with supervise(Consumer("other", callback=ACT), **RESCUE):
        killed, held = publisher.put_many("q", [{"do": "hold_once"}, {"do": "hold"}])
        eventually(lambda: sorted(journal.began()) == [killed, held])
        names = [status.name for status in admin.supervisors()]
        with lock(connection(), "ready"):
            os.kill(journal.runs_of(killed)[0].pid, signal.SIGKILL)
            until = time.monotonic() + 7 * RESCUE["gone_after_seconds"]
            silent = [0.0]
            while time.monotonic() < until:
                silent += [status.silent_seconds for status in admin.supervisors()]
                pause(0.01)
        eventually(lambda: len(journal.runs_of(killed)) == 2)
        gates.open()
        eventually(lambda: admin.find() == [])
        assert [status.name for status in admin.supervisors()] == names
        assert [status.lost_leases for status in admin.supervisors()] == [0, 0]
    assert [run.run for run in journal.runs_of(held)] == [1]
    assert here.output().count("waiting for a lock: the settlement of worker") == 1
    assert "database unreachable" not in here.output()  # the session was kept
    assert max(silent) < 5.0
    assert here.stop() == 0


def test_supervisor_blocked_by_a_lock_stops_within_its_grace(
    supervise: Supervise, conn: Connection, connection: Callable[[], Connection]
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2), grace_seconds=0.1) as supervisor:
        supervisor.expected_exit = None  # the kernel may have to kill it
        locking = connection()
        with locking.transaction():
            locking.execute("lock table supervisors in access exclusive mode")
            eventually(lambda: is_blocked_by_a_lock(conn, "taskmaster supervisor%"))
            began = time.monotonic()
            supervisor.stop()
            supervisor.wait_for_exit()
            assert time.monotonic() - began < 0.1 + 2.0
            eventually(lambda: supervisor.processes() == [], within=1.0)


def is_blocked_by_a_lock(conn: Connection, name: str) -> bool:
    found = conn.execute(
        "select 1 from pg_stat_activity"
        " where application_name like %s and wait_event_type = 'Lock'"
        " and datname = current_database()",
        (name,),
    )
    return found.fetchone() is not None


def test_locked_due_job_does_not_make_the_supervisor_spin(
    conn: Connection, connection: Callable[[], Connection], database_url: str
) -> None:
    job_id = put(conn, delay=60.0)
    conn.execute("update scheduled set run_at = clock_timestamp() - interval '1 s'")
    options = SupervisorOptions(heartbeat_seconds=0.5)
    locking = connection()
    with database_services(database_url, options) as services:
        with locking.transaction():
            locking.execute("select from scheduled for update")
            assert services.steps_within(1.0) < 30
            assert states(conn) == {job_id: State.SCHEDULED}
        services.steps_within(0.2)  # unlocked, it need not wait for a heartbeat
        assert states(conn) == {job_id: State.READY}


def test_locked_lease_does_not_block_the_rescue_of_others(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    stuck, free = put_many(conn, 2)
    lost = register(conn)
    held = claim(conn, batch=1, supervisor=lost)
    assert held is not None
    claim(conn, batch=1, supervisor=lost)
    ((heartbeat_at,),) = conn.execute(
        "select heartbeat_at from supervisors where id = %s", (lost,)
    ).fetchall()
    other = connection()
    with other.transaction():
        other.execute("select from leases where token = %s for update", (held.token,))
        assert (
            supervisors.rescue(
                conn, [supervisors.SilentSupervisor(lost, heartbeat_at, True)], max_crashes=3
            )
            == 1
        )
        assert states(conn) == {stuck: State.RUNNING, free: State.READY}
    assert supervisors.rescue(conn, [], max_crashes=3) == 1
    assert states(conn) == {stuck: State.READY, free: State.READY}
