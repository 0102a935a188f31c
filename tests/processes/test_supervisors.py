"""More than one supervisor on one database."""

from typing import Any

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT


def test_two_supervisors_share_the_work_and_run_nothing_twice(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    consumer = Consumer("q", callback=ACT, batch=1)
    with supervise(consumer) as one, supervise(consumer) as other:
        workers = {one.worker(), other.worker()}
        ids = publisher.put_many("q", [{"do": "hold"}] * 2)
        eventually(lambda: len(journal.began()) == 2)  # each has one
        ids += publisher.put_many("q", [{"do": "spin", "seconds": 0.01}] * 60)
        gates.open()
        eventually(lambda: admin.find(most=1) == [])
    assert sorted(journal.began()) == ids
    assert {run.pid for run in journal.runs()} == workers


def test_supervisor_goes_on_after_another_one_has_stopped(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    consumer = Consumer("q", callback=ACT)
    with supervise(consumer):
        with supervise(consumer):
            publisher.put_many("q", [{}] * 20)
        later = publisher.put("q")
        eventually(lambda: later in journal.finished())
        eventually(lambda: admin.find(most=1) == [])
    assert len(journal.began()) == 21


def test_put_wakes_the_idle_supervisor_if_the_other_is_busy(
    supervise: Supervise, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    consumer = Consumer("q", callback=ACT)
    far: dict[str, Any] = {"heartbeat_seconds": 30.0, "gone_after_seconds": 100.0}
    with supervise(consumer, **far), supervise(consumer, **far):
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        job_id = publisher.put("q")
        eventually(lambda: job_id in journal.finished())
        gates.open()
        eventually(lambda: held in journal.finished())


def test_scheduled_job_runs_once_if_two_supervisors_promote(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    consumer = Consumer("q", callback=ACT, concurrency=2)
    with supervise(consumer), supervise(consumer):
        ids = publisher.put_many("q", [{}] * 200, delay=0.2)
        eventually(lambda: admin.find(most=1) == [])
    assert sorted(journal.began()) == ids


def test_evicted_supervisor_stops_its_jobs_and_registers_again(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        job_id = publisher.put("q", {"do": "hold_once"})
        eventually(lambda: journal.began() == [job_id])
        worker = supervisor.worker()
        # A supervisor that rescues does this.
        conn.execute("update leases set supervisor = -1")
        conn.execute("delete from supervisors")
        eventually(lambda: supervisor.workers() not in ([], [worker]))
        # No supervisor is registered as -1, so the next rescue finds the job.
        eventually(lambda: len(journal.runs_of(job_id)) == 2)
        assert journal.runs_of(job_id)[1].pid != worker
        gates.open()
        eventually(lambda: admin.find(state=State.RUNNING) == [])
    assert journal.runs_of(job_id)[0].ended is None
