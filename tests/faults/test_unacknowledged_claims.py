"""Claims whose reply never reached the worker, and which another session committed late."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.job import ACK
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.worker.leased import Leased
from taskmaster.store import leases
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from taskmaster.store.leases import Claimant
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.proxy import ProxiedConnection, Proxy, proxied
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
from tests.support.worker_context import worker_context

RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": 1.0}
CLAIMS_WAITING = """
select pid, application_name from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'
   and query like '%insert into leases%'
"""
SLOW_CLAIMS = (
    "create table claims (worker text)",
    """create function slow_claim() returns trigger language plpgsql as $$
begin
  insert into taskmaster.claims values (new.worker);
  perform pg_advisory_xact_lock_shared(1);
  return null;
end $$""",
    "create trigger slow_claim after insert on leases for each row execute function slow_claim()",
)

LOST_REPLY = "this reply never arrives"


class CuttingProxy(Proxy):
    """Cuts the first connection on which the server sends LOST_REPLY, which is not passed on."""

    def __init__(self, directory: str, conn: Connection) -> None:
        super().__init__(directory, conn)
        self.cuts = 0

    def passes(self, connection: ProxiedConnection, data: bytes, *, is_reply: bool) -> bool:
        is_cut = is_reply and not self.cuts and LOST_REPLY.encode() in data
        self.cuts += is_cut
        return not is_cut


def test_claim_without_a_reply_is_released_and_runs_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    database_url: str,
) -> None:
    lost = publisher.put_many("q", [{"note": LOST_REPLY}, {}, {}])
    with (
        proxied(CuttingProxy, database_url, conn) as (one, url),
        supervise(Consumer("q", callback=ACT, batch=2), url=url) as system,
    ):
        worker = system.worker()
        eventually(lambda: admin.find(most=1) == [])
        assert one.cuts == 1
        assert system.worker() == worker  # it never exited, so only itself could release the claim
    assert sorted(journal.began()) == lost
    assert {run.run for run in journal.runs()} == {1}


def test_reconnected_worker_releases_only_its_own_claims(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    lost, others, foreign = put_many(conn, 2), put(conn), put(conn)
    us, them = register(conn), register(conn)
    cut = connection()
    assert ids(claim(cut, batch=2, supervisor=us)) == lost
    cut.close()
    leases.claim(conn, Claimant(us, "another worker", QUEUE), Cursor(), batch=1)
    leases.claim(conn, Claimant(them, f"worker of {us}", QUEUE), Cursor(), batch=1)

    assert leases.release_unacknowledged(connection(), us, f"worker of {us}") == 2

    ready, running = (
        dict.fromkeys(lost, State.READY),
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
    context = worker_context(consumer, scoreboard.row(0), permits_fd, lambda job: ACK)
    delivery = Leased(Database(database_url, SCHEMA), Claimant(us, "w", QUEUE), context)
    delivery.on_connection_lost()
    with delivery.connect() as own:
        delivery.release_unacknowledged(own, until=delivery.unacknowledged_until or 0.0)
        assert delivery.is_unsure
        # Sent on the connection that was cut.
        leases.claim(conn, delivery.claimant, Cursor(), batch=1)
        assert states(conn) == {job_id: State.RUNNING}

        def is_released() -> bool:
            delivery.release_unacknowledged(own, until=0.0)
            return states(conn) == {job_id: State.READY}

        eventually(is_released)
        assert not delivery.is_unsure  # it has looked when no claim could commit any more
    for fd in (permits_fd, scoreboard.fd):
        os.close(fd)


def test_claim_committed_after_its_worker_was_killed_is_released(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    for statement in SLOW_CLAIMS:
        conn.execute(statement)
    with supervise(Consumer("q", callback=ACT), **RESCUE) as supervisor:
        conn.execute("select pg_advisory_lock(1)")
        job_id = publisher.put("q")
        ((backend, name),) = eventually(lambda: conn.execute(CLAIMS_WAITING).fetchall())
        victim, killed_at = supervisor.worker(), time.monotonic()
        supervisor.signal(victim, signal.SIGKILL)
        eventually(
            lambda: (
                supervisor.workers() not in ([], [victim]) and time.monotonic() > killed_at + 3.0
            )
        )
        assert conn.execute(CLAIMS_WAITING).fetchall() == [(backend, name)]
        assert journal.began() == []
        conn.execute("select pg_advisory_unlock(1)")
        eventually(lambda: job_id in journal.finished() and admin.find() == [])
        claimants = [
            f"taskmaster {worker}"
            for (worker,) in conn.execute("select worker from claims").fetchall()
        ]
    assert (claimants[0], len(claimants)) == (name, 2)
    assert [(run.id, run.run) for run in journal.runs()] == [(job_id, 1)]
