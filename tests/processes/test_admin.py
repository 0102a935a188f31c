"""Several admins at work on the same jobs."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

from taskmaster import Admin, JobNotFound, Publisher, State
from taskmaster.store.connection import Connection


def reject_all(conn: Connection) -> None:
    conn.execute(
        "with taken as (delete from ready returning *)"
        " insert into rejected"
        " (id, queue_name, priority, run_count, crashes, rescues, created_at, payload)"
        " select id, queue_name, priority, 1, 0, 0, created_at, payload from taken"
    )


def test_requeues_in_opposite_order_do_not_deadlock(
    publisher: Publisher, admin: Admin, database_url: str, conn: Connection
) -> None:
    ids = publisher.put_many("q", [{}] * 200)
    together = Barrier(2)

    def requeue(admin: Admin, order: list[int]) -> None:
        together.wait(10)
        with suppress(JobNotFound):  # the other has requeued some of them
            admin.requeue(*order)

    with Admin(database_url) as one, Admin(database_url) as other, ThreadPoolExecutor(2) as pool:
        one.find()
        other.find()
        for _ in range(20):
            reject_all(conn)
            first = pool.submit(requeue, one, ids)
            second = pool.submit(requeue, other, ids[::-1])
            first.result(20)
            second.result(20)
            assert {job.state for job in admin.find(most=len(ids))} == {State.READY}
