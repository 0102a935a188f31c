"""Supervisors and templates that are killed or stopped."""

import signal
from typing import Any

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT

ORPHANS_GONE_WITHIN_SECONDS = 2.0
RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": 1.0}


def test_killed_template_is_replaced_and_its_workers_go_on(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        workers, template = supervisor.workers(), supervisor.template()
        supervisor.signal(template, signal.SIGKILL)
        eventually(lambda: supervisor.template() != template)
        assert supervisor.workers() == workers
        gates.open()
        eventually(lambda: admin.find() == [])
        # The new template can fork.
        supervisor.signal(workers[0], signal.SIGKILL)
        eventually(
            lambda: len(supervisor.workers()) == 2 and workers[0] not in supervisor.workers()
        )
        job_id = publisher.put("q")
        eventually(lambda: job_id in journal.finished())
    assert [run.run for run in journal.runs_of(held)] == [1]


def test_worker_and_template_killed_together_are_replaced(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        worker = supervisor.worker()
        supervisor.signal(supervisor.template(), signal.SIGKILL)
        supervisor.signal(worker, signal.SIGKILL)
        eventually(lambda: supervisor.workers() not in ([], [worker]))
        job_id = publisher.put("q")
        eventually(lambda: job_id in journal.finished())


def test_stopped_template_does_not_block_a_workers_replacement(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        worker, template = supervisor.worker(), supervisor.template()
        supervisor.signal(template, signal.SIGSTOP)
        supervisor.signal(worker, signal.SIGKILL)
        eventually(lambda: supervisor.workers() not in ([], [worker]), within=15.0)
        job_id = publisher.put("q")
        eventually(lambda: job_id in journal.finished())
        assert supervisor.template() != template


def test_next_supervisor_rescues_the_jobs_of_a_killed_one(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    consumer = Consumer("q", callback=ACT, batch=10)
    running, *mates = publisher.put_many("q", [{"do": "hold_once"}, *[{}] * 4])
    with supervise(consumer, slow_after_seconds=60.0) as supervisor:
        eventually(lambda: journal.began() == [running])
        supervisor.kill()
        eventually(lambda: supervisor.processes() == [], within=ORPHANS_GONE_WITHIN_SECONDS)
    assert {record.state for record in admin.find()} == {State.RUNNING}
    gates.open()
    with supervise(consumer, **RESCUE):
        eventually(lambda: admin.find() == [])
    assert sorted(journal.finished()) == [running, *mates]
    assert {run.run for run in journal.runs()} == {1}  # no job is charged


def test_supervisor_killed_during_a_computation_leaves_no_orphan(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        publisher.put_many("q", [{"do": "spin", "seconds": 30.0}] * 2)
        eventually(lambda: len(journal.began()) == 2)
        supervisor.kill()
        eventually(lambda: supervisor.processes() == [], within=ORPHANS_GONE_WITHIN_SECONDS)


def test_processes_of_callbacks_end_with_a_killed_supervisor(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        publisher.put("q", {"do": "grandchild"})
        eventually(lambda: journal.lines("grandchild"))
        supervisor.kill()
        eventually(lambda: supervisor.processes() == [], within=ORPHANS_GONE_WITHIN_SECONDS)


def test_supervisor_killed_during_its_start_leaves_no_process(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=3)) as supervisor:
        supervisor.kill()
    job_id = publisher.put("q")
    with supervise(Consumer("q", callback=ACT)):
        eventually(lambda: journal.finished() == [job_id])


def test_running_supervisor_rescues_the_jobs_of_a_killed_one(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    held = publisher.put("q", {"do": "hold_once"})
    with supervise(Consumer("q", callback=ACT), **RESCUE) as lost:
        eventually(lambda: journal.began() == [held])
        with supervise(Consumer("q", callback=ACT), **RESCUE):
            lost.kill()
            gates.open()
            eventually(lambda: admin.find() == [])
    assert [run.run for run in journal.runs_of(held)] == [1, 1]


def test_supervisor_stopped_too_long_leaves_its_jobs_to_others(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT), **RESCUE) as stopped:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        with supervise(Consumer("q", callback=ACT), **RESCUE):
            worker = stopped.worker()
            stopped.signal(stopped.pid, signal.SIGSTOP)
            eventually(lambda: len(journal.runs_of(held)) == 2, within=30.0)
            stopped.signal(stopped.pid, signal.SIGCONT)
            eventually(lambda: worker not in stopped.workers())
            gates.open()
            eventually(lambda: admin.find() == [])
    assert [run.ended is not None for run in journal.runs_of(held)] == [False, True]


def test_job_is_charged_from_the_second_lost_host_on(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    job_id = publisher.put("q", {"do": "hold"})
    for runs in (1, 2):
        with supervise(Consumer("q", callback=ACT), **RESCUE) as supervisor:
            eventually(lambda runs=runs: len(journal.runs_of(job_id)) == runs)  # type: ignore[misc]
            supervisor.kill()
    with supervise(Consumer("q", callback=ACT), grace_seconds=0.1, **RESCUE) as supervisor:
        supervisor.expected_exit = None  # on a busy machine the timer comes first
        eventually(lambda: len(journal.runs_of(job_id)) == 3)
        (failure,) = admin.get(job_id).failures
    assert (failure.cause, failure.run) == ("lost host", 1)
    assert [run.run for run in journal.runs_of(job_id)] == [1, 1, 2]
