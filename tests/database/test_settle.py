"""Settle and release: fenced by the token, and only for jobs that the lease still holds."""

from uuid import uuid4

from taskmaster.failure import Failure
from taskmaster.job import State
from taskmaster.settlement import Settlement, release
from taskmaster.store import jobs, leases
from taskmaster.store.connection import Connection
from tests.support.store import claim, claimed, ids, leases_left, put, put_many, states

FAILURE = Failure(cause="exception", message="boom")


def test_an_acked_batch_is_gone(conn: Connection) -> None:
    put_many(conn, 3)
    assert leases.settle(conn, claimed(conn).token, [])
    assert states(conn) == {}
    assert leases_left(conn) == 0


def test_each_job_of_a_batch_ends_as_its_settlement_says(conn: Connection) -> None:
    acked, rejected, retried, snoozed, unstarted = put_many(conn, 5)
    settlements = [
        Settlement(rejected, State.REJECTED, charged=True, failure=FAILURE),
        Settlement(retried, State.SCHEDULED, charged=True, delay_seconds=60.0, failure=FAILURE),
        Settlement(snoozed, State.SCHEDULED, delay_seconds=60.0),
        release(unstarted),
    ]
    assert leases.settle(conn, claimed(conn).token, settlements)
    assert states(conn) == {
        rejected: State.REJECTED,
        retried: State.SCHEDULED,
        snoozed: State.SCHEDULED,
        unstarted: State.READY,
    }
    assert jobs.get(conn, acked) is None
    runs = {
        record.id: record.run_count
        for record in jobs.find(conn, queue_name=None, state=None, most=10)
    }
    assert runs == {rejected: 1, retried: 1, snoozed: 0, unstarted: 0}


def test_a_worker_that_lost_its_lease_writes_nothing(conn: Connection) -> None:
    job_id = put(conn)
    assert claimed(conn)
    stranger = uuid4()
    assert not leases.settle(conn, stranger, [])
    assert not leases.settle(
        conn, stranger, [Settlement(job_id, State.REJECTED, charged=True, failure=FAILURE)]
    )
    assert not leases.release(conn, stranger, [job_id])
    assert not leases.mark_started(conn, stranger, job_id)
    assert states(conn) == {job_id: State.RUNNING}


def test_a_batch_settled_twice_after_a_lost_reply_counts_once(conn: Connection) -> None:
    job_id = put(conn)
    token = claimed(conn).token
    settlement = [Settlement(job_id, State.REJECTED, charged=True, failure=FAILURE)]
    assert leases.settle(conn, token, settlement)
    assert not leases.settle(conn, token, settlement)
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.run_count, len(record.failures)) == (1, 1)


def test_a_job_released_before_is_not_settled_as_well(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    token = claimed(conn).token
    assert leases.release(conn, token, [second])
    assert leases.settle(
        conn,
        token,
        [release(second), Settlement(first, State.REJECTED, charged=True, failure=FAILURE)],
    )
    assert states(conn) == {first: State.REJECTED, second: State.READY}


def test_a_settlement_for_a_job_of_another_batch_is_ignored(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    mine, theirs = claimed(conn, batch=1), claimed(conn, batch=1)
    assert leases.settle(
        conn, mine.token, [Settlement(second, State.REJECTED, charged=True, failure=FAILURE)]
    )
    assert states(conn) == {second: State.RUNNING}
    assert leases.settle(conn, theirs.token, [])
    assert first not in states(conn)


def test_release_keeps_the_lease_for_the_other_jobs(conn: Connection) -> None:
    first, second, third = put_many(conn, 3)
    token = claimed(conn).token
    assert leases.release(conn, token, [second, third])
    assert states(conn) == {first: State.RUNNING, second: State.READY, third: State.READY}
    assert ids(claim(conn)) == [second, third]
    assert leases.settle(conn, token, [])
    assert states(conn) == {second: State.RUNNING, third: State.RUNNING}


def test_release_twice_does_not_double_a_job(conn: Connection) -> None:
    _, second = put_many(conn, 2)
    token = claimed(conn).token
    leases.release(conn, token, [second])
    leases.release(conn, token, [second])
    assert [
        record.id for record in jobs.find(conn, queue_name="q", state=State.READY, most=10)
    ] == [second]


def test_a_released_job_is_uncharged_and_whole(conn: Connection) -> None:
    job_id = put(conn, b'{"n": 1}', priority=7)
    leases.release(conn, claimed(conn).token, [job_id])
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.run_count, record.payload, record.priority, record.failures) == (
        0,
        {"n": 1},
        7,
        [],
    )
    (row,) = claimed(conn).jobs
    assert (row.crashes, row.rescues) == (0, 0)


def test_the_history_keeps_the_latest_20_failures(conn: Connection) -> None:
    job_id = put(conn)
    for run in range(1, 31):
        failure = Failure(cause="exception", message="", run=run)
        settlement = Settlement(job_id, State.READY, charged=True, failure=failure)
        assert leases.settle(conn, claimed(conn).token, [settlement])
    record = jobs.get(conn, job_id)
    assert record is not None
    assert record.run_count == 30
    assert [failure.run for failure in record.failures] == list(range(11, 31))


def test_headers_and_failures_survive_claim_and_settle(conn: Connection) -> None:
    job_id = jobs.put(
        conn, "taskmaster", jobs.Entry("q", 0, 0.0), (b"null", b'{"trace": "\\u00e4"}')
    )
    for _ in range(2):
        settlement = Settlement(job_id, State.READY, charged=True, failure=FAILURE)
        leases.settle(conn, claimed(conn).token, [settlement])
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.headers, record.failures, record.payload) == (
        {"trace": "ä"},
        [FAILURE, FAILURE],
        None,
    )


def test_jobs_of_one_batch_keep_their_own_headers(conn: Connection, hot: Connection) -> None:
    with_headers = jobs.put(conn, "taskmaster", jobs.Entry("q", 0, 0.0), (b"1", b'{"a":1}'))
    without = put(conn, b"2")
    rows = {row.id: (row.payload, row.headers) for row in claimed(hot).jobs}
    assert rows == {with_headers: (b"1", b'{"a":1}'), without: (b"2", None)}


def test_the_counts_of_a_lease_leave_out_released_jobs(conn: Connection) -> None:
    first, second = put_many(conn, 2)
    token = claimed(conn).token
    leases.release(conn, token, [second])
    assert leases.counts(conn, token) == {first: (0, 0)}
