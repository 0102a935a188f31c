"""Identities that survive a restored backup, and leases that a failover brings back."""

from taskmaster import State
from taskmaster.settlement import Settlement
from taskmaster.store import leases, supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from taskmaster.store.leases import Claimant
from tests.support.store import QUEUE, put, register, states

WORKER = "w"


def test_supervisors_id_is_not_drawn_from_the_sequence(conn: Connection) -> None:
    first = register(conn)
    conn.execute("select setval(pg_get_serial_sequence('supervisors', 'id'), 1, false)")
    conn.execute("delete from supervisors")
    assert register(conn) != first


def claim_once(conn: Connection, supervisor: int) -> leases.Lease:
    claimant = Claimant(supervisor, WORKER, QUEUE, once=True)
    lease = leases.claim(conn, claimant, Cursor(), batch=1)
    assert lease is not None
    return lease


def test_lease_of_a_batch_that_has_run_is_rejected(conn: Connection) -> None:
    job_id, us = put(conn), register(conn)
    lease = claim_once(conn, us)
    assert leases.tokens_of(conn, us, WORKER) == [lease.token]
    leases.reject_lease(conn, lease.token, worker=WORKER)
    assert states(conn) == {job_id: State.REJECTED}


def test_unknown_lease_is_rejected_only_after_a_failover(conn: Connection) -> None:
    job_id, us = put(conn), register(conn)
    claim_once(conn, us)
    assert leases.release_unacknowledged(conn, us, WORKER) == 1
    assert states(conn) == {job_id: State.READY}
    claim_once(conn, us)
    assert leases.release_orphans(conn, us, [], reject_once=True) == 1
    assert states(conn) == {job_id: State.REJECTED}


def test_job_that_may_run_again_is_released_after_a_failover(conn: Connection) -> None:
    job_id, us = put(conn), register(conn)
    assert leases.claim(conn, Claimant(us, WORKER, QUEUE), Cursor(), batch=1) is not None
    assert leases.release_orphans(conn, us, [], reject_once=True) == 1
    assert states(conn) == {job_id: State.READY}


def test_some_jobs_of_a_batch_are_settled_and_the_others_kept(conn: Connection) -> None:
    first, second = put(conn), put(conn)
    us = register(conn)
    lease = leases.claim(conn, Claimant(us, WORKER, QUEUE), Cursor(), batch=2)
    assert lease is not None
    rejection = Settlement(first, State.REJECTED, charged=True)
    assert leases.settle_some(conn, lease.token, [rejection])
    assert states(conn) == {first: State.REJECTED, second: State.RUNNING}
    assert [one.name for one in supervisors.find(conn)] == ["test"]
