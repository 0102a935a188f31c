"""Claim: which jobs are claimed, in which order, by which worker."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import orjson
import pytest

from taskmaster.store import leases
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import BOTTOM, PRIORITIES, TOPS, Cursor
from taskmaster.store.statements import statement
from tests.support.store import claim, claimed, ids, leases_left, put, put_many
from tests.support.waiting import eventually


def test_claim_of_an_empty_queue_leaves_no_empty_lease(conn: Connection) -> None:
    assert claim(conn) is None
    assert leases_left(conn) == 0


def test_jobs_are_claimed_by_priority_and_then_in_put_order(conn: Connection) -> None:
    late = [put(conn, priority=9), put(conn, priority=9)]
    soon = [put(conn, priority=3), put(conn, priority=3)]
    first = put(conn, priority=0)
    assert ids(claimed(conn)) == [first, *soon, *late]


def test_a_small_batch_claims_the_most_urgent_jobs(conn: Connection) -> None:
    put_many(conn, 50, priority=5)
    urgent = put_many(conn, 3, priority=1)
    assert ids(claimed(conn, batch=3)) == urgent


def test_an_urgent_job_is_claimed_next_despite_the_cursor(
    conn: Connection,
) -> None:
    put_many(conn, 100, priority=5)
    cursor = Cursor()
    claim(conn, batch=10, cursor=cursor)
    urgent = put(conn, priority=0)
    assert ids(claim(conn, batch=10, cursor=cursor))[0] == urgent


def test_jobs_of_another_queue_are_not_claimed(conn: Connection) -> None:
    put(conn, queue="other")
    assert claim(conn) is None


def test_run_count_is_1_in_the_first_run(conn: Connection) -> None:
    put(conn)
    assert claimed(conn).jobs[0].run_count == 1


def test_four_workers_at_once_never_claim_the_same_job(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    wanted = set(put_many(conn, 2_000))

    def worker(own: Connection) -> list[int]:
        cursor, found = Cursor(), list[int]()
        while taken := ids(claim(own, batch=17, cursor=cursor)):
            found += taken
        return found

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(worker, [connection() for _ in range(4)]))
    everything = [job_id for share in shares for job_id in share]
    assert len(everything) == len(set(everything))
    # A worker stops when the others have locked the rest, so a few may be left. None may be lost.
    left = set(ids(claim(conn, batch=500)))
    assert set(everything) | left == wanted


def test_a_job_that_is_being_claimed_is_skipped_without_waiting(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    first, second = put(conn), put(conn)
    slow = connection()
    with slow.transaction():
        assert ids(claim(slow, batch=1)) == [first]
        assert ids(claim(conn)) == [second]


def test_a_claim_that_is_rolled_back_leaves_its_jobs_ready(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    job_id = put(conn)
    aborted = connection()
    with aborted.transaction(force_rollback=True):
        claimed(aborted)
    assert ids(claim(conn)) == [job_id]


def test_a_job_committed_late_behind_the_cursor_is_found(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    clock = [100.0]
    cursor = Cursor(lambda: clock[0])
    slow = connection()
    with slow.transaction():
        late = put(slow)
        early = put_many(conn, 20)
        assert ids(claim(conn, batch=10, cursor=cursor)) == early[:10]
    assert late not in ids(claim(conn, batch=5, cursor=cursor))
    clock[0] += 30.0  # longer than any pause between two sweeps
    assert ids(claim(conn, batch=5, cursor=cursor))[0] == late


def test_a_worker_finds_a_late_job_before_it_is_idle(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    cursor = Cursor(lambda: 100.0)
    slow = connection()
    with slow.transaction():
        late = put(slow)
        put_many(conn, 20)
        claim(conn, batch=20, cursor=cursor)
    # The first of these claims may come back short, and then the next one is a sweep.
    found = [ids(claim(conn, batch=20, cursor=cursor)) for _ in range(2)]
    assert [late] in found


def test_a_claim_returns_the_whole_job(conn: Connection, hot: Connection) -> None:
    job_id = put(conn, b'{"a": [1, null, "\xc3\xa4"], "big": 123456789012345678}', priority=4)
    (row,) = claimed(hot).jobs
    assert (row.id, row.queue_name, row.priority) == (job_id, "q", 4)
    assert orjson.loads(row.payload) == {"a": [1, None, "ä"], "big": 123456789012345678}
    assert row.created_at.tzinfo is not None
    assert (row.headers, row.crashes, row.rescues) == (None, 0, 0)


def test_each_batch_has_a_random_token(conn: Connection) -> None:
    put_many(conn, 2)
    first, second = claimed(conn, batch=1), claimed(conn, batch=1)
    assert first.token != second.token
    assert first.token.version == 4


@pytest.fixture
def slow_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every sweep count as slow, as on a busy machine, so that floors are raised."""
    monkeypatch.setattr("taskmaster.store.cursor.SLOW_SWEEP_SECONDS", -1.0)


@pytest.mark.usefixtures("slow_sweeps")
def test_first_job_of_a_new_database_is_above_every_floor(
    conn: Connection,
) -> None:
    cursor = Cursor(lambda: 100.0)
    for _ in range(5):
        assert claim(conn, cursor=cursor) is None
    first = put(conn)
    assert ids(claim(conn, cursor=cursor)) == [first]


@pytest.mark.usefixtures("slow_sweeps")
@pytest.mark.parametrize("open_at_once", [1, 2])
def test_job_of_the_newest_open_transaction_is_above_the_floor(
    conn: Connection, connection: Callable[[], Connection], open_at_once: int
) -> None:
    cursor = Cursor(lambda: 100.0)
    put(conn)
    assert claim(conn, cursor=cursor) is not None
    late = []
    with ExitStack() as stack:
        for _ in range(open_at_once):
            slow = connection()
            stack.enter_context(slow.transaction())
            late.append(put(slow))
        for _ in range(5):
            assert claim(conn, cursor=cursor) is None
    assert ids(claim(conn, cursor=cursor)) == late


@pytest.mark.usefixtures("slow_sweeps")
def test_job_of_an_old_open_transaction_is_above_the_floor(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    cursor = Cursor(lambda: 100.0)
    slow = connection()
    with slow.transaction():
        late = put(slow)
        for _ in range(5):
            quick = put(conn)
            assert ids(claim(conn, cursor=cursor)) == [quick]
            assert claim(conn, cursor=cursor) is None
    assert ids(claim(conn, cursor=cursor)) == [late]


@pytest.mark.usefixtures("slow_sweeps")
def test_a_floor_rises_over_dead_entries(conn: Connection) -> None:
    clock = [100.0]
    cursor = Cursor(lambda: clock[0])

    def risen_over_more() -> bool:
        """A floor waits for the oldest transaction of the server, which may be another test's."""
        put_many(conn, 50)
        lease = claim(conn, cursor=cursor)
        assert lease is not None
        assert len(ids(lease)) == 50
        assert leases.settle(conn, lease.token, [])  # a floor waits for every lease too
        clock[0] += 1.0
        return cursor.floors[0] > 100

    eventually(risen_over_more)
    last = put(conn)
    assert ids(claim(conn, cursor=cursor)) == [last]


def test_claim_returns_its_columns_in_the_order_they_are_read(conn: Connection) -> None:
    parameters = {
        "priorities": PRIORITIES, "lows": [BOTTOM] * len(PRIORITIES), "highs": TOPS, "batch": 1,
        "supervisor": 0, "worker": "w", "queue_name": "q",
        "once": False, "done": None, "durable": True,
    }  # fmt: skip
    found = conn.execute(statement("leases/claim"), parameters).description
    assert found is not None
    assert tuple(column.name for column in found) == leases.CLAIM_COLUMNS
    assert leases.CLAIM_COLUMNS.index("token") == leases.TOKEN
    assert leases.CLAIM_COLUMNS.index("position") == leases.POSITION
    assert leases.CLAIM_COLUMNS.index("id") == leases.ID
    assert leases.CLAIM_COLUMNS.index("priority") == leases.PRIORITY
