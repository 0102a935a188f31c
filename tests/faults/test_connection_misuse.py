"""Callbacks that misuse `job.connection`: it costs their own run and no other job."""

import time

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Supervise, eventually
from tests.support.connection_misuse import MISUSE


@pytest.mark.parametrize("payload", ["leave a block open", "sleep in a query"])
def test_transaction_that_cannot_end_blocks_no_later_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, payload: str
) -> None:
    consumer = Consumer(
        "q", callback=MISUSE, delivery="transactional", max_runs=1, timeout_seconds=1.0
    )
    with supervise(consumer) as supervisor:
        worker = supervisor.worker()
        began = time.monotonic()
        bad, *good = publisher.put("q", payload), publisher.put("q"), publisher.put("q")
        eventually(lambda: [job.id for job in admin.find()] == [bad])
        eventually(lambda: admin.get(bad).state == State.REJECTED)
        assert time.monotonic() - began < 8.0  # the query would take a minute
        assert supervisor.worker() == worker
    (failure,) = admin.get(bad).failures
    assert failure.cause == ("timeout" if payload == "sleep in a query" else "exception")
    assert good


def test_row_factory_set_by_a_callback_does_not_end_its_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(Consumer("q", callback=MISUSE, delivery="transactional")) as supervisor:
        worker = supervisor.worker()
        publisher.put_many("q", ["other rows", None, None])
        eventually(lambda: admin.find() == [])
        assert supervisor.worker() == worker
