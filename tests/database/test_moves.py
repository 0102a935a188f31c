"""Moving a job between tables: written once, in the order asked for, whatever the search path."""

import re
from pathlib import Path

import pytest

import taskmaster.store
from taskmaster.failure import Failure
from taskmaster.job import State
from taskmaster.settlement import Settlement
from taskmaster.store import jobs, leases, transactions
from taskmaster.store.connection import Connection
from tests.support.store import SCHEMA, claimed, ids, put, put_many, rescue, states

STORE = Path(taskmaster.store.__file__).parent
INSERT = re.compile(r"insert into (?:\{schema\}\.)?(?:ready|scheduled|rejected)\b", re.IGNORECASE)
SEVERAL_CHUNKS = 450
FAILURE = Failure(cause="exception", message="boom", run=1)


def test_jobs_are_inserted_by_put_and_move_jobs_only() -> None:
    inserting = {file.name for file in STORE.rglob("*.sql") if INSERT.search(file.read_text())}
    assert inserting == {"put.sql", "move_jobs.sql"}


def test_requeue_in_several_chunks_keeps_the_order_of_ids(conn: Connection) -> None:
    wanted = put_many(conn, SEVERAL_CHUNKS)
    lease = claimed(conn, batch=SEVERAL_CHUNKS)
    assert leases.settle(
        conn, lease.token, [Settlement(job_id, State.REJECTED) for job_id in wanted]
    )
    assert jobs.requeue_queue(conn, "q") == SEVERAL_CHUNKS
    assert ids(claimed(conn, batch=SEVERAL_CHUNKS)) == wanted


def test_requeue_by_ids_in_several_chunks_names_them_all(conn: Connection) -> None:
    wanted = put_many(conn, SEVERAL_CHUNKS)
    lease = claimed(conn, batch=SEVERAL_CHUNKS)
    leases.settle(conn, lease.token, [Settlement(job_id, State.REJECTED) for job_id in wanted])
    assert jobs.requeue(conn, wanted[::-1]) == wanted
    assert ids(claimed(conn, batch=SEVERAL_CHUNKS)) == wanted


def test_promotion_in_several_chunks_follows_the_due_times(conn: Connection) -> None:
    wanted = [
        jobs.put_many(conn, SCHEMA, jobs.Entry("q", 0, 60.0), [(b"{}", None)])[0]
        for _ in range(SEVERAL_CHUNKS)
    ]
    conn.execute("update scheduled set run_at = now() - make_interval(secs => id)")
    assert jobs.promote(conn) == (SEVERAL_CHUNKS, None)
    assert ids(claimed(conn, batch=SEVERAL_CHUNKS)) == wanted[::-1]


def test_rescue_keeps_at_most_20_failures(conn: Connection) -> None:
    job_id = put(conn)
    for _ in range(26):
        lease = claimed(conn, supervisor=987_654)
        leases.mark_started(conn, lease.token, job_id)
        rescue(conn, max_crashes=100)
    record = jobs.get(conn, job_id)
    assert record is not None
    assert [failure.run for failure in record.failures] == list(range(7, 27))


@pytest.mark.parametrize("state", [State.READY, State.SCHEDULED, State.REJECTED])
def test_charge_works_with_any_search_path(conn: Connection, state: State) -> None:
    job_id = put(conn)
    conn.execute("set search_path to pg_catalog")
    settlement = Settlement(job_id, state, charged=True, delay_seconds=60, failure=FAILURE)
    assert transactions.charge(conn, SCHEMA, settlement, run=1).moved
    conn.execute("set search_path to taskmaster")
    assert states(conn) == {job_id: state}
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.run_count, record.failures) == (1, [FAILURE])


def test_requeue_by_sql_works_with_any_search_path(conn: Connection) -> None:
    job_id = put(conn)
    leases.settle(conn, claimed(conn).token, [Settlement(job_id, State.REJECTED)])
    conn.execute("set search_path to pg_catalog")
    assert conn.execute("select taskmaster.requeue(%s)", (job_id,)).fetchone() == (True,)
    assert conn.execute("select taskmaster.requeue(%s)", (job_id,)).fetchone() == (False,)
