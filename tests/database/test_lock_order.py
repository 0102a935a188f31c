"""Statements that lock several rows lock them in id order, so that two of them cannot deadlock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql

from taskmaster.job import State
from taskmaster.settlement import Settlement, release
from taskmaster.store import jobs, leases
from taskmaster.store.connection import Connection
from tests.support.store import claimed, put_many
from tests.support.waiting import eventually

Operation = Callable[[Connection, list[int]], object]
WAITING = "select wait_event_type from pg_stat_activity where pid = %s"


def deletes(conn: Connection, ids: list[int]) -> object:
    return jobs.delete(conn, ids)


def deletes_the_queue(conn: Connection, ids: list[int]) -> object:
    return jobs.delete_queue(conn, "q", None)


def requeues(conn: Connection, ids: list[int]) -> object:
    return jobs.requeue(conn, ids)


def requeues_the_queue(conn: Connection, ids: list[int]) -> object:
    return jobs.requeue_queue(conn, "q")


def written_backwards(conn: Connection, state: State) -> list[int]:
    """Return three jobs whose rows stand in the table in the reverse order of their ids."""
    ids = put_many(conn, 3)
    for job_id in reversed(ids):
        lease = claimed(conn)
        others = [release(other.id) for other in lease.jobs if other.id != job_id]
        assert leases.settle(conn, lease.token, [Settlement(job_id, State.REJECTED), *others])
    if state == State.READY:
        for job_id in reversed(ids):
            assert jobs.requeue(conn, [job_id]) == [job_id]
    return ids


@pytest.mark.parametrize(
    ("operation", "state"),
    [
        (deletes, State.READY),
        (deletes, State.REJECTED),
        (deletes_the_queue, State.READY),
        (deletes_the_queue, State.REJECTED),
        (requeues, State.REJECTED),
        (requeues_the_queue, State.REJECTED),
    ],
)
def test_rows_are_locked_in_id_order(
    conn: Connection, connection: Callable[[], Connection], operation: Operation, state: State
) -> None:
    first, middle, last = written_backwards(conn, state)
    table = sql.Identifier(str(state))
    holder, waiter = connection(), connection()
    unlocked = sql.SQL("select id from {} order by id for update skip locked").format(table)
    with ThreadPoolExecutor(1) as pool:
        with holder.transaction():
            holder.execute(
                sql.SQL("select from {} where id = %s for update").format(table), (middle,)
            )
            done = pool.submit(operation, waiter, [last, first, middle])
            backend = waiter.info.backend_pid
            eventually(lambda: conn.execute(WAITING, (backend,)).fetchone() == ("Lock",))
            assert [row[0] for row in conn.execute(unlocked).fetchall()] == [last]
        assert done.result(timeout=20) in (3, [first, middle, last])
