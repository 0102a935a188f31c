"""Jobs that exceed their time, memory or CPU limit. No other job is charged."""

import time
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, JobRecord, Publisher, State
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.misbehaving_callbacks import WAIT_FOR_CHILD


def consumer(**limits: Any) -> Consumer:
    return Consumer("q", callback=ACT, **{"max_runs": 1, **limits})


def wait_until_rejected(admin: Admin, job_id: int) -> JobRecord:
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    return admin.get(job_id)


def test_timeout_interrupts_the_job_and_keeps_its_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer(timeout_seconds=1.0)) as supervisor:
        worker = supervisor.worker()
        record = wait_until_rejected(admin, publisher.put("q", {"do": "spin", "seconds": 30}))
        fine = publisher.put("q")
        eventually(lambda: fine in journal.finished())
        assert supervisor.worker() == worker
    (failure,) = record.failures
    assert failure.cause == "timeout"
    assert "timeout_seconds (1 s)" in failure.message
    assert "_spin" in failure.traceback


@pytest.mark.parametrize(
    "payload",
    [{"do": "sleep_in_c"}, {"do": "sleep_in_c", "holding_the_gil": True}],
    ids=["gil free", "gil held"],
)
def test_timeout_interrupts_a_sleep_in_c(
    supervise: Supervise, publisher: Publisher, admin: Admin, payload: dict[str, Any]
) -> None:
    with supervise(consumer(timeout_seconds=0.1, kill_after_seconds=5)):
        record = wait_until_rejected(admin, publisher.put("q", payload))
    assert [failure.cause for failure in record.failures] == ["timeout"]


@pytest.mark.parametrize(
    ("payload", "frame"), [({"do": "hash"}, "_hash"), ({"do": "swallow"}, "_swallow")]
)
def test_job_that_ignores_its_timeout_is_killed_with_its_stack(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    payload: dict[str, Any],
    frame: str,
) -> None:
    with supervise(consumer(timeout_seconds=1.0, kill_after_seconds=0.1)):
        record = wait_until_rejected(admin, publisher.put("q", payload))
        fine = publisher.put("q")
        eventually(lambda: fine in journal.finished())
    (failure,) = record.failures
    assert (failure.cause, failure.run) == ("timeout", 1)
    assert frame in failure.traceback
    assert failure.duration_seconds is not None
    assert 1.1 < failure.duration_seconds < 8


def test_children_of_a_timed_out_job_are_killed_with_it(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    consumer = Consumer(
        "q", callback=WAIT_FOR_CHILD, timeout_seconds=1.0, kill_after_seconds=0.1, max_runs=1
    )
    with supervise(consumer):
        record = wait_until_rejected(admin, publisher.put("q"))
        (line,) = journal.lines("child")
        eventually(lambda: not Path(f"/proc/{line['child']}").exists())
    assert record.failures[0].cause == "timeout"


def test_job_over_its_memory_limit_is_killed(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer(memory_limit_mb=200)):
        record = wait_until_rejected(admin, publisher.put("q", {"do": "eat", "mb": 260}))
        fine = publisher.put("q")
        eventually(lambda: journal.finished() == [fine])
    assert journal.began() == [record.id, fine]
    (failure,) = record.failures
    assert failure.cause == "memory limit"
    assert "memory_limit_mb is 200" in failure.message
    assert failure.peak_memory_mb is not None
    assert failure.peak_memory_mb > 200


def test_memory_limit_is_about_memory_that_is_used(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(consumer(memory_limit_mb=200)):
        publisher.put("q", {"do": "reserve", "mb": 4000})
        eventually(lambda: admin.find() == [])


def test_job_over_its_cpu_limit_is_killed_and_idle_one_is_not(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(consumer(cpu_limit_seconds=0.3)):
        record = wait_until_rejected(admin, publisher.put("q", {"do": "hash"}))
        waiting = publisher.put("q", {"do": "hold"})
        eventually(
            lambda: (
                time.monotonic() - journal.runs_of(waiting)[0].began > 0.5
                if journal.runs_of(waiting)
                else 0
            )
        )
        gates.open()
        eventually(lambda: waiting in journal.finished())
    (failure,) = record.failures
    assert failure.cause == "cpu limit"
    assert failure.cpu_seconds is not None
    assert 0.3 <= failure.cpu_seconds < 5


def test_exceeded_limit_is_charged_to_no_batch_mate(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{}, {"do": "hash"}, {}, {}])
    with supervise(consumer(timeout_seconds=1.0, kill_after_seconds=0.1, batch=4)):
        record = wait_until_rejected(admin, ids[1])
        eventually(lambda: set(journal.finished()) == set(ids) - {ids[1]})
        eventually(lambda: [job.id for job in admin.find()] == [ids[1]])
    assert len(record.failures) == 1
    assert all(run.run == 1 for run in journal.runs())


def test_job_killed_in_each_run_is_rejected_with_every_cause(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    failing = consumer(
        timeout_seconds=0.05,
        kill_after_seconds=0.0,
        max_runs=2,
        retry_base_seconds=0.01,
        retry_max_seconds=0.01,
    )
    with supervise(failing):
        record = wait_until_rejected(admin, publisher.put("q", {"do": "hash"}))
    assert [failure.cause for failure in record.failures] == ["timeout", "timeout"]
    assert record.run_count == 2
