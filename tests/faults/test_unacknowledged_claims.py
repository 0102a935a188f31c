"""A database that has done what it was told and cannot say so, or does not come to it."""

import os
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from threading import Thread
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from taskmaster import Admin, Consumer, Publisher, State, SupervisorOptions
from taskmaster.job import ACK
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.worker.context import WorkerContext, WorkerJobContext
from taskmaster.processes.worker.leased import Leased
from taskmaster.store import leases
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from taskmaster.store.leases import Claimant
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.database_services import database_services
from tests.support.store import (
    QUEUE,
    SCHEMA,
    claim,
    claimed,
    ids,
    leases_left,
    put,
    put_many,
    register,
    states,
)

STOLEN = "this answer never arrives"
PORT = 5432
LIVES_SECONDS = 30.0


class Thief(ThreadingUnixStreamServer):
    """Stands between clients and the server. Cuts the first connection on which STOLEN is answered, in its place."""

    def __init__(self, directory: str, conn: Connection) -> None:
        super().__init__(f"{directory}/.s.PGSQL.{PORT}", Between)
        self.host, self.port = conn.info.host, conn.info.port
        self.stolen = 0

    def connect(self) -> socket.socket:
        if not self.host.startswith("/"):
            return socket.create_connection((self.host, self.port))
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{self.host}/.s.PGSQL.{self.port}")
        return upstream

    def steals(self, answer: bytes) -> bool:
        stealing = not self.stolen and STOLEN.encode() in answer
        self.stolen += stealing
        return stealing


class Between(BaseRequestHandler):
    server: Thief

    def handle(self) -> None:
        with self.server.connect() as upstream, suppress(OSError):
            other = {self.request: upstream, upstream: self.request}
            while readable := select.select(list(other), [], [], LIVES_SECONDS)[0]:
                for end in readable:
                    data = end.recv(65_536)
                    if not data or (end is upstream and self.server.steals(data)):
                        return
                    other[end].sendall(data)


@contextmanager
def thief(database_url: str, conn: Connection) -> Iterator[tuple[Thief, str]]:
    """A thief, and the URL by which the database is reached through it."""
    with tempfile.TemporaryDirectory() as directory, Thief(directory, conn) as one:
        parameters = {**conninfo_to_dict(database_url), "host": directory, "port": PORT}
        thread = Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield (
                one,
                "postgresql:///?"
                + "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items()),
            )
        finally:
            one.shutdown()
            thread.join(LIVES_SECONDS)


def test_claim_without_a_reply_is_released_and_runs_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    database_url: str,
) -> None:
    lost = publisher.put_many("q", [{"note": STOLEN}, {}, {}])
    with (
        thief(database_url, conn) as (one, url),
        supervise(Consumer("q", callback=ACT, batch=2), url=url) as system,
    ):
        worker = system.worker()
        eventually(lambda: admin.find(most=1) == [])
        assert one.stolen == 1
        assert (
            system.worker() == worker
        )  # alive all the time, so nobody else would have given it back
    assert sorted(journal.began()) == lost
    assert {run.run for run in journal.runs()} == {1}


def test_reconnected_worker_releases_only_its_own_claims(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    forgotten, others, foreign = put_many(conn, 2), put(conn), put(conn)
    us, them = register(conn), register(conn)
    cut = connection()
    assert ids(claim(cut, batch=2, supervisor=us)) == forgotten
    cut.close()
    leases.claim(conn, Claimant(us, "its neighbour", QUEUE), Cursor(), batch=1)
    leases.claim(conn, Claimant(them, f"worker of {us}", QUEUE), Cursor(), batch=1)

    assert leases.release_unacknowledged(connection(), us, f"worker of {us}") == 2

    ready, running = (
        dict.fromkeys(forgotten, State.READY),
        dict.fromkeys([others, foreign], State.RUNNING),
    )
    assert states(conn) == ready | running
    assert leases.release_unacknowledged(conn, us, f"worker of {us}") == 0
    assert [row.run_count for row in claimed(conn).jobs] == [1, 1]
    assert leases_left(conn) == 3


def test_claim_committed_after_the_reconnect_is_released(
    conn: Connection, database_url: str
) -> None:
    us, job_id = register(conn), put(conn)
    consumer, scoreboard, permits_fd = (
        Consumer(QUEUE, callback=ACT),
        Scoreboard(1),
        permits.create(),
    )
    context = WorkerContext(
        consumer,
        "w",
        scoreboard.row(0),
        permits_fd,
        lambda job: ACK,
        WorkerJobContext(scoreboard.row(0)),
        identity(permits_fd),
    )
    delivery = Leased(Database(database_url, SCHEMA), Claimant(us, "w", QUEUE), context)
    delivery.on_connection_lost()
    with delivery.connect() as own:
        delivery.release_unacknowledged(own, until=delivery.unacknowledged_until or 0.0)
        assert delivery.is_unsure
        leases.claim(
            conn, delivery.claimant, Cursor(), batch=1
        )  # sent on the connection that was cut
        assert states(conn) == {job_id: State.RUNNING}

        def given_back() -> bool:
            delivery.release_unacknowledged(own, until=0.0)
            return states(conn) == {job_id: State.READY}

        eventually(given_back)
        assert not delivery.is_unsure  # it has looked when nothing could come any more
    for fd in (permits_fd, scoreboard.fd):
        os.close(fd)


def test_supervisor_blocked_by_a_lock_stops_within_its_grace(
    supervise: Supervise, conn: Connection, connection: Callable[[], Connection]
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2), grace_seconds=0.1) as supervisor:
        supervisor.expected_exit = None  # the kernel may have to end it
        locking = connection()
        with locking.transaction():
            locking.execute("lock table supervisors in access exclusive mode")
            eventually(lambda: waits_for_a_lock(conn, "taskmaster supervisor%"))
            told = time.monotonic()
            supervisor.stop()
            supervisor.left()
            assert time.monotonic() - told < 0.1 + 2.0
            eventually(lambda: supervisor.processes() == [], within=1.0)


def waits_for_a_lock(conn: Connection, name: str) -> bool:
    found = conn.execute(
        "select 1 from pg_stat_activity"
        " where application_name like %s and wait_event_type = 'Lock' and datname = current_database()",
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
        services.steps_within(0.2)  # once it is unlocked, it does not wait for a heartbeat
        assert states(conn) == {job_id: State.READY}
