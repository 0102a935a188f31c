"""Stopping: no job is lost or charged, and it takes no longer than the grace."""

import os
import signal
import time

import pytest

from taskmaster import Admin, Consumer, Job, Outcome, Publisher, State
from taskmaster.consumer import Delivery
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.worker.leased import Leased
from taskmaster.processes.worker.transactional import Transactional
from taskmaster.store.connection import Connection
from taskmaster.store.leases import Claimant
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.store import QUEUE, SCHEMA, put, register, states
from tests.support.worker_context import worker_context


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_supervisor_exits_at_once(
    supervise: Supervise, publisher: Publisher, journal: Journal, number: signal.Signals
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        publisher.put("q")
        eventually(lambda: journal.finished())
        began = time.monotonic()
        supervisor.stop(number=number)
        assert supervisor.wait_for_exit() == 0
        assert time.monotonic() - began < 2.0


def test_running_job_finishes_and_is_acked(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        job_id = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [job_id])
        supervisor.stop()
        gates.open()
        assert supervisor.wait_for_exit() == 0
    assert journal.finished() == [job_id]
    assert admin.find() == []


def test_unstarted_jobs_are_released_at_once_and_uncharged(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    running, *mates = publisher.put_many("q", [{"do": "hold"}, *[{}] * 4])
    with supervise(Consumer("q", callback=ACT, batch=10), slow_after_seconds=60.0) as supervisor:
        eventually(lambda: journal.began() == [running])
        supervisor.stop()
        eventually(lambda: [record.id for record in admin.find(state=State.READY)] == mates)
        assert admin.get(running).state == State.RUNNING
        gates.open()
        assert supervisor.wait_for_exit() == 0
    assert journal.finished() == [running]
    assert [(record.id, record.run_count, record.failures) for record in admin.find()] == [
        (n, 0, []) for n in mates
    ]


def test_stopping_supervisor_claims_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        running = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [running])
        supervisor.stop()
        eventually(lambda: len(supervisor.workers()) == 1)
        late = publisher.put("q")
        gates.open()
        assert supervisor.wait_for_exit() == 0
    assert [record.id for record in admin.find(state=State.READY)] == [late]


def test_job_beyond_the_grace_is_cut_off_and_not_charged(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    capfd: pytest.CaptureFixture[str],
) -> None:
    job_id = publisher.put("q", {"do": "hold"})
    with supervise(Consumer("q", callback=ACT), grace_seconds=0.2) as supervisor:
        eventually(lambda: journal.began() == [job_id])
        began = time.monotonic()
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
        assert 0.2 <= time.monotonic() - began < 2.2
    log = capfd.readouterr().err
    assert log.count("grace over, killing workers: count=1") == 1
    record = admin.get(job_id)
    assert (record.state, record.run_count, record.failures) == (State.READY, 0, [])
    assert journal.finished() == []
    gates.open()
    with supervise(Consumer("q", callback=ACT)):  # the job runs again as if it had never begun
        eventually(lambda: journal.finished() == [job_id])
    assert [run.run for run in journal.runs()] == [1, 1]
    assert admin.find() == []


def test_ended_jobs_of_a_batch_that_is_cut_off_stay_ended(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    acked, rejected, running, waiting = publisher.put_many(
        "q", [{}, {"do": "reject"}, {"do": "hold"}, {}]
    )
    with supervise(
        Consumer("q", callback=ACT, batch=10), grace_seconds=0.1, slow_after_seconds=60.0
    ) as supervisor:
        eventually(lambda: running in journal.began())
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    found = {record.id: (record.state, record.run_count) for record in admin.find()}
    assert found == {
        rejected: (State.REJECTED, 1),
        running: (State.READY, 0),
        waiting: (State.READY, 0),
    }
    assert acked not in found


def test_second_signal_ends_the_grace_at_once(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    job_id = publisher.put("q", {"do": "hold"})
    with supervise(Consumer("q", callback=ACT), grace_seconds=30.0) as supervisor:
        eventually(lambda: journal.began() == [job_id])
        began = time.monotonic()
        supervisor.stop()
        # Two signals of the same number may reach a busy process as one.
        supervisor.stop(number=signal.SIGINT)
        assert supervisor.wait_for_exit() == 0
        assert time.monotonic() - began < 3.0
    assert (admin.get(job_id).state, admin.get(job_id).run_count) == (State.READY, 0)


def test_sigquit_stops_without_grace_and_charges_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT), grace_seconds=60.0) as supervisor:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        began = time.monotonic()
        supervisor.stop(number=signal.SIGQUIT)
        supervisor.wait_for_exit()
        assert time.monotonic() - began < 5.0
    assert (admin.get(held).state, admin.get(held).run_count) == (State.READY, 0)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signal_without_a_meaning_ends_no_process_of_ours(
    supervise: Supervise, publisher: Publisher, journal: Journal, number: signal.Signals
) -> None:
    with supervise(Consumer("q", callback=ACT), http="127.0.0.1:0") as supervisor:
        (exporter,) = eventually(lambda: supervisor.pids_by_title("taskmaster exporter"))
        ours = [supervisor.pid, supervisor.template(), exporter]
        for pid in ours:
            supervisor.signal(pid, number)
        job_id = publisher.put("q")
        eventually(lambda: journal.finished() == [job_id])
        assert supervisor.template() == ours[1]
        assert supervisor.pids_by_title("taskmaster exporter") == [exporter]


def test_callback_sees_that_its_worker_is_stopping(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT), grace_seconds=20.0) as supervisor:
        job_id = publisher.put("q", {"do": "hold_until_stopping"})
        eventually(lambda: journal.began() == [job_id])
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    assert journal.finished() == [job_id]


def test_sigterm_to_every_process_lets_the_running_job_finish(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        job_id = publisher.put("q", {"do": "hold_until_stopping"})
        eventually(lambda: journal.began() == [job_id])
        supervisor.stop_all(signal.SIGTERM)
        assert supervisor.wait_for_exit() == 0
    assert journal.finished() == [job_id]
    assert admin.find() == []


def test_ctrl_c_in_the_terminal_lets_the_running_job_finish(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        job_id = publisher.put("q", {"do": "hold_until_stopping"})
        eventually(lambda: journal.began() == [job_id])
        supervisor.stop_all(signal.SIGINT)
        assert supervisor.wait_for_exit() == 0
    assert journal.finished() == [job_id]
    assert admin.find() == []


def test_stopped_supervisor_leaves_no_row_behind(
    supervise: Supervise, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT)):
        publisher.put("q")
        eventually(lambda: journal.finished())
        assert conn.execute("select count(*) from supervisors").fetchone() == (1,)
    assert conn.execute("select count(*) from supervisors").fetchone() == (0,)
    assert conn.execute("select count(*) from leases").fetchone() == (0,)


@pytest.mark.parametrize("delivery", ["at_least_once", "transactional"])
def test_stopping_worker_runs_none_of_its_last_claim(
    conn: Connection, database_url: str, delivery: Delivery
) -> None:
    job_id, scoreboard, permits_fd = put(conn), Scoreboard(1), permits.create()
    row, consumer = scoreboard.row(0), Consumer(QUEUE, callback=ACT, delivery=delivery)

    def fail(job: Job) -> Outcome:
        pytest.fail("the job has run")

    context = worker_context(consumer, row, permits_fd, fail)
    database = Database(database_url, SCHEMA)
    worker: Leased | Transactional = Leased(database, Claimant(register(conn), "w", QUEUE), context)
    if consumer.is_transactional:
        worker = Transactional(database, "w", context)
    with worker.connect() as own:
        row.is_stopping = True
        worker.step(own, at_most=None)
        worker.finish(own)
    assert states(conn) == {job_id: State.READY}
    for fd in (permits_fd, scoreboard.fd):
        os.close(fd)


def test_supervisor_with_a_stopped_template_exits_in_time(
    supervise: Supervise,
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2), grace_seconds=2.0) as supervisor:
        supervisor.signal(supervisor.template(), signal.SIGSTOP)
        victim = supervisor.workers()[0]
        supervisor.signal(victim, signal.SIGKILL)
        eventually(lambda: victim not in supervisor.workers())
        began = time.monotonic()
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
        assert time.monotonic() - began < 4.0


def test_stopped_supervisor_holds_no_session_and_no_lock(
    supervise: Supervise, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    def sessions() -> list[object]:
        return conn.execute(
            "select application_name from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and application_name like 'taskmaster %'"
        ).fetchall()

    def locks() -> list[object]:
        return conn.execute(
            "select locktype, objid from pg_locks where pid <> pg_backend_pid()"
            " and database = (select oid from pg_database where datname = current_database())"
        ).fetchall()

    with supervise(Consumer("q", callback=ACT, concurrency=2)) as supervisor:
        publisher.put_many("q", [{}] * 50)
        eventually(lambda: len(journal.finished()) == 50)
        eventually(lambda: len(sessions()) == 4)  # supervisor, listener, two workers
        supervisor.signal(supervisor.workers()[0], signal.SIGKILL)
        eventually(lambda: len(supervisor.workers()) == 2)
        supervisor.wait_for_exit()
        eventually(lambda: sessions() == [])
    eventually(lambda: locks() == [])  # autovacuum holds some for a moment
