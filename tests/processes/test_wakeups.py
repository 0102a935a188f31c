"""From a put to the start of its callback, with notifications and without."""

import time

import psycopg

from taskmaster import Admin, Consumer, Publisher
from taskmaster.processes.worker.loop import LOOKS_SECONDS
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT


def run_one_job(admin: Admin, publisher: Publisher, journal: Journal) -> None:
    """Run one job, after which all workers are idle."""
    job_id = publisher.put("q")
    eventually(lambda: job_id in journal.finished())
    eventually(lambda: admin.find(most=1) == [])


def listeners(conn: Connection) -> list[int]:
    """Return the backends of the LISTEN connections."""
    found = conn.execute(
        "select pid from pg_stat_activity"
        " where application_name = 'taskmaster listener' and datname = current_database()"
    )
    return [row[0] for row in found.fetchall()]


def test_job_put_while_all_are_idle_is_claimed_on_notification(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    # Heartbeats, at which idle workers look by themselves, are too far apart to help.
    with supervise(Consumer("q", callback=ACT), heartbeat_seconds=30.0, gone_after_seconds=100.0):
        run_one_job(admin, publisher, journal)
        for _ in range(3):
            # By then a worker looks only after a wakeup.
            idle_at = time.monotonic() + sum(LOOKS_SECONDS) + 0.2
            eventually(lambda at=idle_at: time.monotonic() > at)  # type: ignore[misc]
            job_id = publisher.put("q")
            eventually(lambda job_id=job_id: job_id in journal.finished())  # type: ignore[misc]


def test_burst_wakes_as_many_workers_as_there_are_jobs(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(
        Consumer("q", callback=ACT, concurrency=3), heartbeat_seconds=30.0, gone_after_seconds=100.0
    ):
        run_one_job(admin, publisher, journal)
        publisher.put_many("q", [{"do": "hold"}] * 3)
        # With the one before. None of the three ends before the gate opens.
        eventually(lambda: len(journal.began()) == 4)
        gates.open()
        eventually(lambda: admin.find(most=1) == [])
    assert journal.most_at_once() == 3


def test_job_put_without_a_notification_is_found_by_heartbeat(
    supervise: Supervise, admin: Admin, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2)):
        run_one_job(admin, publisher, journal)
        with conn.transaction():
            conn.execute("set local session_replication_role to replica")  # no trigger fires
            conn.execute("insert into ready (queue_name, payload) values ('q', '{}')")
        eventually(lambda: len(journal.finished()) == 2, within=3.0)


def test_lost_listen_connection_is_replaced_and_delays_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        run_one_job(admin, publisher, journal)
        workers = supervisor.workers()
        (before,) = listeners(conn)
        conn.execute("select pg_terminate_backend(%s)", (before,))
        job_id = publisher.put("q")
        eventually(lambda: job_id in journal.finished(), within=3.0)
        eventually(lambda: len(listeners(conn)) == 1 and before not in listeners(conn))
        run_one_job(admin, publisher, journal)
        assert supervisor.workers() == workers


def test_workers_look_when_the_supervisor_listens_again(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    # Heartbeats, at which idle workers look by themselves, are too far apart to help.
    with supervise(
        Consumer("q", callback=ACT, concurrency=2), heartbeat_seconds=30.0, gone_after_seconds=100.0
    ):
        run_one_job(admin, publisher, journal)
        idle_at = time.monotonic() + sum(LOOKS_SECONDS) + 0.2
        eventually(lambda: time.monotonic() > idle_at)
        with conn.transaction():
            conn.execute("set local session_replication_role to replica")  # no trigger fires
            conn.execute("insert into ready (queue_name, payload) values ('q', '{}')")
        conn.execute("select pg_terminate_backend(%s)", (listeners(conn)[0],))
        eventually(lambda: len(journal.finished()) == 2)


def test_puts_do_not_notify_while_no_worker_is_idle(
    publisher: Publisher, conn: Connection, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("listen taskmaster")
        publisher.put_many("q", [{}] * 3)
        conn.execute("select pg_notify('taskmaster', 'end')")
        assert [notify.payload for notify in listening.notifies(timeout=5.0, stop_after=1)] == [
            "end"
        ]


def test_put_notifies_queue_and_number_once_per_statement(
    publisher: Publisher, conn: Connection, database_url: str
) -> None:
    name = 'ünï 🦀 "quoted"'
    conn.execute("select setval('idle_until', 9999999999999)")
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("listen taskmaster")
        publisher.put_many(name, [{}] * 3)
        publisher.put("q", delay=0.5)
        publisher.put("q", delay=3600)  # too early for a notification
        conn.execute("select pg_notify('taskmaster', 'end')")
        received = [notify.payload for notify in listening.notifies(timeout=5.0, stop_after=3)]
    assert received == [f"3 {name}", "due", "end"]


def test_puts_do_not_notify_after_idle_workers_are_long_gone(
    conn: Connection, database_url: str
) -> None:
    conn.execute(
        "select setval('idle_until', (extract(epoch from clock_timestamp()) * 1000)::bigint - 1)"
    )
    with (
        psycopg.connect(database_url, autocommit=True) as listening,
        Publisher(database_url) as publisher,
    ):
        listening.execute("listen taskmaster")
        publisher.put("q")
        conn.execute("select pg_notify('taskmaster', 'end')")
        assert [notify.payload for notify in listening.notifies(timeout=5.0, stop_after=1)] == [
            "end"
        ]
