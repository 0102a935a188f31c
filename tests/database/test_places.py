"""A job that goes back to ready keeps its place.

Other workers find it there although their cursors are far ahead.
"""

from collections.abc import Callable

import pytest

from taskmaster.failure import Failure
from taskmaster.job import State
from taskmaster.settlement import Settlement, release
from taskmaster.store import jobs, leases, stats
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import BOTTOM, Cursor
from taskmaster.store.leases import Lease
from tests.support.store import SCHEMA, claim, claimed, ids, put, put_many, rescue
from tests.support.waiting import eventually

BACKLOG = 10_000
FAILURE = Failure(cause="signal", message="", run=1)
Release = Callable[[Connection, Lease], object]


class Worker:
    """A claimant with a cursor whose clock stands still between two of its claims."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.now = 100.0
        self.cursor = Cursor(lambda: self.now)

    def claim(self, batch: int = 100) -> Lease:
        lease = claim(self.conn, batch=batch, cursor=self.cursor)
        assert lease is not None
        return lease

    def sweep(self, batch: int = 100) -> Lease:
        """Claim as if the next sweep were due."""
        self.now = max(self.now, self.cursor.next_sweep) + 0.001
        return self.claim(batch)

    def ack(self, lease: Lease) -> None:
        assert leases.settle(self.conn, lease.token, [])

    def work(self, batches: int) -> None:
        """Claim and ack this many batches, each with a sweep."""
        for _ in range(batches):
            self.ack(self.sweep())


@pytest.fixture
def slow_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sweep takes so long that it is worth raising the floor."""
    monkeypatch.setattr("taskmaster.store.cursor.SLOW_SWEEP_SECONDS", -1.0)


@pytest.fixture
def workers(
    slow_sweeps: None, conn: Connection, connection: Callable[[], Connection]
) -> tuple[Worker, Worker]:
    """Two workers with raised floors and a backlog before them."""
    put_many(conn, BACKLOG)
    both = Worker(conn), Worker(connection())

    def have_raised_floors() -> bool:
        """A floor waits for the oldest transaction of the server, which may be another test's."""
        put_many(conn, 200)
        for worker in both:
            worker.work(1)
        return all(worker.cursor.floors[0] > BOTTOM for worker in both)

    eventually(have_raised_floors)
    return both


def releases_them(conn: Connection, lease: Lease) -> None:
    assert leases.release(conn, lease.token, ids(lease))


def settles_them_as_released(conn: Connection, lease: Lease) -> None:
    assert leases.settle(conn, lease.token, [release(job_id) for job_id in ids(lease)])


def settles_them_as_crashed(conn: Connection, lease: Lease) -> None:
    crashes = [
        Settlement(job_id, State.READY, charged=True, crashed=True, failure=FAILURE)
        for job_id in ids(lease)
    ]
    assert leases.settle(conn, lease.token, crashes)


def rescues_them(conn: Connection, lease: Lease) -> None:
    assert rescue(conn) >= len(ids(lease))


def releases_orphans(conn: Connection, lease: Lease) -> None:
    assert leases.release_orphans(conn, 0, []) == len(ids(lease))


def releases_unacknowledged(conn: Connection, lease: Lease) -> None:
    assert leases.release_unacknowledged(conn, 0, "worker of 0") == len(ids(lease))


WAYS_BACK = [
    releases_them,
    settles_them_as_released,
    settles_them_as_crashed,
    rescues_them,
    releases_orphans,
    releases_unacknowledged,
]


@pytest.mark.parametrize("finder", ["its own worker", "the other worker"])
@pytest.mark.parametrize("give_up", WAYS_BACK)
def test_jobs_back_in_ready_are_claimed_before_the_backlog(
    workers: tuple[Worker, Worker], conn: Connection, give_up: Release, finder: str
) -> None:
    own, other = workers
    lease = own.claim()
    own.work(20)
    other.work(20)
    give_up(conn, lease)
    finding = own if finder == "its own worker" else other
    assert ids(finding.sweep()) == ids(lease)


def test_long_job_does_not_hold_the_floor(workers: tuple[Worker, Worker], conn: Connection) -> None:
    own, other = workers
    lease = own.claim(batch=1)
    (held,) = conn.execute("select positions[1] from leases").fetchone() or (0,)

    def has_passed_the_lease() -> bool:
        put_many(conn, 100)
        other.work(1)
        return other.cursor.floors[0] > held

    eventually(has_passed_the_lease)
    # The job comes back, is claimed and comes back again, while looks raise the floor further.
    for _ in range(3):
        releases_them(conn, lease)
        lease = other.sweep(batch=1)
        assert ids(lease)[0] == min(ids(lease))
        assert other.cursor.floors[0] > held
    releases_them(conn, lease)
    assert ids(own.sweep(batch=1)) == ids(lease)


def test_held_job_is_found_after_looks_while_it_was_ready(
    workers: tuple[Worker, Worker], conn: Connection, connection: Callable[[], Connection]
) -> None:
    own, other = workers
    lease = own.claim(batch=1)
    (held,) = conn.execute("select positions[1] from leases").fetchone() or (0,)

    def has_passed_the_lease() -> bool:
        put_many(conn, 100)
        other.work(1)
        return other.cursor.floors[0] > held

    eventually(has_passed_the_lease)
    releases_them(conn, lease)
    slow = connection()
    with slow.transaction(force_rollback=True):  # locked, so that the sweeps skip it
        assert ids(claimed(slow, batch=1)) == ids(lease)
        put_many(conn, 1000)
        other.work(5)
    assert ids(other.sweep(batch=1)) == ids(lease)


@pytest.mark.parametrize("commits", [True, False])
def test_a_floor_does_not_pass_a_claim_in_flight(
    workers: tuple[Worker, Worker],
    connection: Callable[[], Connection],
    conn: Connection,
    commits: bool,
) -> None:
    _, other = workers
    slow = connection()
    with slow.transaction(force_rollback=not commits):
        lease = claimed(slow)
        other.work(20)
    if commits:
        releases_them(conn, lease)
    assert ids(other.sweep()) == ids(lease)


def test_a_floor_does_not_pass_a_job_claimed_at_each_look(
    workers: tuple[Worker, Worker], connection: Callable[[], Connection]
) -> None:
    _, other = workers
    slow = connection()
    wanted = ids(claimed(slow, batch=1))
    for _ in range(20):
        assert leases.release_orphans(slow, 0, []) == 1
        with slow.transaction():
            assert ids(claimed(slow, batch=1)) == wanted
            other.work(1)
    assert leases.release_orphans(slow, 0, []) == 1
    assert ids(other.sweep(batch=1)) == wanted


def test_an_idle_worker_finds_a_released_job_at_once(workers: tuple[Worker, Worker]) -> None:
    own, other = workers
    lease = own.claim(batch=1)
    while (rest := claim(other.conn, batch=500, cursor=other.cursor)) is not None:
        other.ack(rest)
    releases_them(own.conn, lease)
    assert ids(other.claim(batch=1)) == ids(lease)


def test_released_jobs_keep_their_order_within_each_priority(conn: Connection) -> None:
    wanted = [put(conn, priority=priority) for priority in (0, 0, 5, 5)]
    lease = claimed(conn)
    late = [put(conn, priority=0), put(conn, priority=5)]
    assert leases.release(conn, lease.token, ids(lease)[::-1])
    assert ids(claimed(conn)) == [*wanted[:2], late[0], *wanted[2:], late[1]]


def test_retried_promoted_and_requeued_jobs_go_behind(conn: Connection) -> None:
    retried, rejected, waiting = put_many(conn, 3)
    lease = claimed(conn, batch=2)
    settlements = [
        Settlement(retried, State.SCHEDULED, charged=True),
        Settlement(rejected, State.REJECTED, charged=True),
    ]
    assert leases.settle(conn, lease.token, settlements)
    jobs.promote(conn)
    jobs.requeue(conn, [rejected])
    assert ids(claimed(conn)) == [waiting, retried, rejected]


def test_released_jobs_do_not_hide_the_age_of_the_backlog(conn: Connection) -> None:
    put_many(conn, 10)
    conn.execute("update ready set ready_at = ready_at - interval '1 hour'")
    lease = claimed(conn, batch=5)
    leases.release(conn, lease.token, ids(lease))
    oldest = stats.queue_stats(conn, ["q"])["q"].oldest_seconds
    assert oldest is not None
    assert oldest > 3500


def test_a_job_of_an_open_copy_is_not_below_the_floor(
    workers: tuple[Worker, Worker], connection: Callable[[], Connection], conn: Connection
) -> None:
    _, other = workers
    slow = connection()
    with slow.transaction():
        entry = jobs.Entry("q", 0, 0.0)
        (late,) = jobs.put_many(slow, SCHEMA, entry, [(b"{}", None)])
        put_many(conn, 2_100)
        other.work(20)
    assert late in ids(other.sweep(batch=BACKLOG))
