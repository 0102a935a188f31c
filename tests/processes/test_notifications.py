"""Notifications on the channel, which any session may send, and when puts send them."""

from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from taskmaster import Consumer, Publisher, SupervisorOptions
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.listener import Listener
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.database_services import database_services
from tests.support.store import SCHEMA, beat, put, register

FOREIGN = [
    "",
    " ",
    "rubbish",
    "٣ queue",
    "² queue",
    "-1 q",
    "1e3 q",
    "1.5 q",
    "99999999999999999999 q",
    "7",
    "\n",
]
TOO_LONG = pytest.param("9" * 5_000 + " q", id="5000 digits")
LONG_HEARTBEATS = SupervisorOptions(heartbeat_seconds=5.0, gone_after_seconds=15.0)


def notify(conn: Connection, payload: str) -> None:
    conn.execute("select pg_notify(%s, %s)", (SCHEMA, payload))


@pytest.fixture
def jobs() -> Counter[str]:
    """All jobs that the listener has passed on."""
    return Counter()


@pytest.fixture
def listener(database_url: str, conn: Connection, jobs: Counter[str]) -> Iterator[Listener]:
    session = DatabaseSession(Database(database_url, SCHEMA), connection=conn)
    listener = Listener(session, jobs.update, lambda now: None, lambda: None)
    listener.run_due(0.0)
    assert listener.is_up
    yield listener
    listener.close()


@pytest.mark.parametrize("payload", [*FOREIGN, TOO_LONG])
def test_foreign_notification_is_skipped_and_the_next_is_read(
    listener: Listener, jobs: Counter[str], conn: Connection, payload: str
) -> None:
    notify(conn, payload)
    notify(conn, "2 behind it")

    def has_arrived() -> bool:
        listener.read()
        return "behind it" in jobs

    eventually(has_arrived)
    assert jobs["behind it"] == 2
    assert listener.is_up


def test_supervisor_survives_foreign_notifications(
    supervise: Supervise, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    with supervise(
        Consumer("q", callback=ACT), heartbeat_seconds=30.0, gone_after_seconds=100.0
    ) as supervisor:
        worker = supervisor.worker()
        for payload in FOREIGN:
            notify(conn, payload)
        job_id = publisher.put("q", delay=0.01)
        notify(conn, "due")  # without it the schedule is looked at on the next heartbeat
        eventually(lambda: journal.finished() == [job_id])
        assert supervisor.worker() == worker


# -- until when puts notify


@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0, 5.0, 60.0])
def test_puts_notify_for_longer_than_a_heartbeat_interval(
    seconds: float,
) -> None:
    options = SupervisorOptions(heartbeat_seconds=seconds, gone_after_seconds=3 * seconds)
    assert options.notify_ms >= max(3_000, 2 * seconds * 1_000)


def test_put_between_two_long_heartbeats_notifies(conn: Connection, database_url: str) -> None:
    with database_services(database_url, LONG_HEARTBEATS, idle=True) as services:
        services.step()
        assert open_for_seconds(conn) > 2 * 5.0


def test_idle_worker_makes_puts_notify_beyond_long_heartbeats(
    supervise: Supervise, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT), heartbeat_seconds=30.0, gone_after_seconds=100.0):
        # The heartbeat found no idle worker yet.
        eventually(lambda: open_for_seconds(conn) > 2 * 30.0)


def test_short_idle_period_does_not_shorten_a_longer_one(conn: Connection) -> None:
    us = register(conn)
    beat(conn, us, idle=True, idle_ms=15_000)
    supervisors.announce_idle(conn, "taskmaster", 3_000)
    beat(conn, us, idle=True, idle_ms=3_000)
    assert open_for_seconds(conn) > 10.0


def test_put_notifies_while_a_worker_is_idle_and_no_longer(
    conn: Connection, database_url: str
) -> None:
    us = register(conn)
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("listen taskmaster")
        beat(conn, us, idle=False, idle_ms=15_000)
        put(conn, queue="no worker idle")
        beat(conn, us, idle=True, idle_ms=15_000)
        put(conn, queue="idle")
        conn.execute(
            "select setval('idle_until',"
            " (extract(epoch from clock_timestamp()) * 1000)::bigint - 1)"
        )
        put(conn, queue="too long ago")
        notify(conn, "end")
        received = [notify.payload for notify in listening.notifies(timeout=5.0, stop_after=2)]
    assert received == ["1 idle", "end"]


def open_for_seconds(conn: Connection) -> float:
    """Return how much longer puts notify."""
    found = conn.execute(
        "select last_value / 1000.0 - extract(epoch from clock_timestamp()) from idle_until"
    ).fetchone()
    assert found is not None
    return float(found[0])
