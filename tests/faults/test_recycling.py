"""Workers that are replaced between jobs, their niceness and CPUs, and jobs that crash workers."""

import os
from collections import Counter
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State, WorkersFailed
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import component
from tests.support.misbehaving_callbacks import MISBEHAVE
from tests.support.queues import is_drained


def consumer(**keys: Any) -> Consumer:
    return Consumer("q", callback=MISBEHAVE, **keys)


# -- recycling


@pytest.mark.parametrize("batch", ["auto", 1, 10])
def test_worker_is_replaced_after_max_jobs_per_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, batch: Any
) -> None:
    ids = publisher.put_many("q", [{}] * 40)
    # Released jobs would lose their order.
    with supervise(consumer(max_jobs_per_worker=7, batch=batch), slow_after_seconds=60.0):
        eventually(lambda: is_drained(admin))
    assert journal.finished() == ids
    assert sorted(Counter(run.pid for run in journal.runs()).values()) == [5, 7, 7, 7, 7, 7]


def test_recycling_of_several_workers_loses_and_repeats_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids: list[int] = []

    def has_replaced_workers() -> bool:
        ids.extend(publisher.put_many("q", [{}] * 50))
        return len({run.pid for run in journal.runs()}) > 3

    with supervise(consumer(max_jobs_per_worker=5, concurrency=3, batch=1)):
        eventually(has_replaced_workers, within=20.0)
        eventually(lambda: is_drained(admin), within=20.0)
    assert sorted(journal.began()) == ids == sorted(journal.finished())
    assert {run.run for run in journal.runs()} == {1}


def test_worker_with_a_hanging_component_is_replaced(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{}] * 2)
    hanging = consumer(
        max_jobs_per_worker=1, component="tests.support.misbehaving_callbacks:hanging_component"
    )
    with supervise(hanging, grace_seconds=0.1) as supervisor:
        supervisor.expected_exit = None
        eventually(lambda: is_drained(admin), within=15.0)
    assert journal.finished() == ids


def test_leaking_worker_is_replaced_between_jobs(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{"do": "leak", "mb": 60}] * 8)
    with supervise(consumer(max_memory_per_worker_mb=150, batch=1)) as supervisor:
        eventually(lambda: is_drained(admin))
        assert len(supervisor.workers()) <= 1
    assert [(run.id, run.run) for run in journal.runs()] == [(job_id, 1) for job_id in ids]
    assert len({run.pid for run in journal.runs()}) >= 2
    assert max(Counter(run.pid for run in journal.runs()).values()) <= 4


def test_workers_are_recycled_one_at_a_time(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    def has_recycled() -> bool:
        publisher.put_many("q", [{}] * 50)
        return len(journal.lines("closed")) > 3

    with supervise(
        consumer(max_jobs_per_worker=5, concurrency=4, batch=2, component=component)
    ) as supervisor:
        eventually(has_recycled, within=20.0)
        eventually(lambda: is_drained(admin), within=20.0)
        eventually(lambda: len(supervisor.workers()) == 4)
        lines = journal.lines()
    running: set[int] = set()
    counts: list[int] = []
    for line in lines:
        if line["word"] in ("entered", "closed"):
            (running.add if line["word"] == "entered" else running.discard)(line["pid"])
            counts.append(len(running))
    assert max(counts) == 4
    assert set(counts[counts.index(4) :]) == {3, 4}  # workers were replaced, never two at once


def test_stop_during_recycling_loses_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{}] * 300)
    with supervise(consumer(max_jobs_per_worker=3, concurrency=2)) as supervisor:
        eventually(lambda: len(journal.finished()) >= 20)
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    left = [job.id for job in admin.find(most=1000)]
    assert sorted([*journal.finished(), *left]) == ids
    assert {job.run_count for job in admin.find(most=1000)} <= {0}


# -- niceness and CPUs


def test_callbacks_have_the_configured_niceness_and_cpus(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    base, cpu = os.nice(0), max(os.sched_getaffinity(0))
    with supervise(consumer(nice=3, cpu_affinity=[cpu])):
        publisher.put("q", {"do": "where"})
        eventually(lambda: is_drained(admin))
    (where,) = journal.lines("where")
    assert (where["nice"], where["cpus"]) == (min(19, base + 3), [cpu])


def test_missing_cpu_is_refused_in_one_sentence_at_the_start(
    supervise: Supervise,
) -> None:
    there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    with pytest.raises(WorkersFailed) as refused, supervise(consumer(cpu_affinity=[0, 4000])):
        pass
    sentence = str(refused.value)
    assert sentence.endswith(f"consumer 'q': cpu_affinity names CPU 4000; there are {there}")
    assert "\n" not in sentence


# -- jobs that crash their worker


def jobs_by_lease(conn: Connection) -> list[list[int]]:
    """Return the jobs of each lease."""
    return [
        sorted(ids)
        for (ids,) in conn.execute(
            "select array_agg(job.id) from leases as lease"
            " cross join lateral unpack(lease) as job group by lease.token"
        )
    ]


def test_crashed_job_runs_alone_the_second_time(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    gates: Gates,
) -> None:
    crashing, *mates = ids = publisher.put_many("q", [{"do": "SIGKILL once, then hold"}, *[{}] * 9])
    with supervise(consumer(batch=10), slow_after_seconds=60.0):
        eventually(lambda: len(journal.runs_of(crashing)) == 2)
        assert jobs_by_lease(conn) == [[crashing]]
        gates.open()
        eventually(lambda: is_drained(admin))
    assert sorted(journal.finished()) == ids
    assert {run.run for run in journal.runs() if run.id in mates} == {1}
    assert len(journal.runs()) == len(ids) + 1


def test_job_that_crashes_alone_affects_no_batch_mate(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    crashing, *mates = publisher.put_many("q", [{"do": "SIGKILL"}, *[{}] * 30])
    with supervise(consumer(batch=10, max_crashes=3, retry_base_seconds=0.01)):
        eventually(
            lambda: [(job.id, job.state) for job in admin.find()] == [(crashing, State.REJECTED)]
        )
    assert len(admin.get(crashing).failures) == len(journal.runs_of(crashing)) == 3
    assert sorted(job_id for job_id in journal.began() if job_id != crashing) == mates


def test_one_crash_is_charged_to_one_job_of_the_batch(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{"do": "SIGKILL"}] * 10)
    with supervise(consumer(batch=10, max_crashes=2, retry_base_seconds=0.01)):
        eventually(lambda: {job.state for job in admin.find()} == {State.REJECTED}, within=20.0)
    charged = [failure.worker for job_id in ids for failure in admin.get(job_id).failures]
    assert len(charged) == len(set(charged)) == len(journal.runs()) == 20
