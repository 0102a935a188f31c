"""Workers that are killed or stopped, or that crash by themselves."""

import os
import signal

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT

FAR_SECONDS = 60.0  # for what must not happen during the test


def test_killed_idle_worker_is_replaced_and_no_job_charged(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        first = publisher.put("q")
        eventually(lambda: admin.find() == [])
        victim = supervisor.worker()
        supervisor.signal(victim, signal.SIGKILL)
        eventually(lambda: supervisor.workers() not in ([], [victim]))
        second = publisher.put("q")
        eventually(lambda: journal.finished() == [first, second])
        eventually(lambda: admin.find() == [])


def test_killed_busy_worker_costs_its_job_one_run(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    payloads = [{}, {"do": "reject"}, {"do": "hold_once"}, {}, {"do": "hold"}]
    acked, rejected, running, mate, last = publisher.put_many("q", payloads)
    with supervise(
        Consumer("q", callback=ACT, batch=10), slow_after_seconds=FAR_SECONDS
    ) as supervisor:
        eventually(lambda: running in journal.began())
        victim = supervisor.worker()
        supervisor.signal(victim, signal.SIGKILL)
        eventually(lambda: last in journal.began())  # by then all others have run
        record = next(job for job in admin.find() if job.id == last)
        assert record.run_count == 1
        gates.open()
        eventually(lambda: [job.id for job in admin.find()] == [rejected])
    runs = {
        job_id: [run.run for run in journal.runs_of(job_id)]
        for job_id in (acked, rejected, running, mate, last)
    }
    assert runs == {acked: [1], rejected: [1], running: [1, 2], mate: [1], last: [1]}
    assert {run.pid for run in journal.runs_of(running)} > {victim}


def test_failure_of_a_killed_job_names_the_signal(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, max_crashes=1)) as supervisor:
        worker = supervisor.worker()
        job_id = publisher.put("q", {"do": "crash"})
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
        eventually(lambda: supervisor.workers() not in ([], [worker]))
    (failure,) = admin.get(job_id).failures
    assert (failure.cause, failure.run) == ("signal SIGKILL", 1)
    assert f"(pid {worker}) ended while it ran: signal SIGKILL" in failure.message
    assert failure.duration_seconds is not None
    assert 0 <= failure.duration_seconds < 5


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        ({"do": "crash", "signal": "SIGSEGV"}, "signal SIGSEGV"),
        ({"do": "crash", "signal": "SIGABRT"}, "signal SIGABRT"),
        ({"do": "exit", "code": 0}, "exit code 0"),
        ({"do": "exit", "code": 13}, "exit code 13"),
    ],
)
def test_job_that_keeps_crashing_is_rejected_after_max_crashes(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    payload: dict[str, object],
    cause: str,
) -> None:
    with supervise(
        Consumer("q", callback=ACT, max_crashes=3, max_runs=100, retry_base_seconds=0.02)
    ):
        job_id = publisher.put("q", payload)
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
        good = publisher.put("q")
        eventually(lambda: good in journal.finished())
    record = admin.get(job_id)
    assert [failure.cause for failure in record.failures] == [cause] * 3
    assert [failure.run for failure in record.failures] == [1, 2, 3]
    assert record.run_count == len(journal.runs_of(job_id)) == 3


def test_job_that_crashed_once_runs_again_at_once(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, retry_base_seconds=FAR_SECONDS)):
        job_id = publisher.put("q", {"do": "crash_once"})
        eventually(lambda: admin.find() == [])
    assert [run.run for run in journal.runs_of(job_id)] == [1, 2]


def test_only_the_killed_worker_is_replaced(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=3, batch=1)) as supervisor:
        publisher.put_many("q", [{"do": "hold"}] * 3)
        eventually(lambda: len(journal.began()) == 3)
        victim, *others = supervisor.workers()
        supervisor.signal(victim, signal.SIGKILL)
        eventually(lambda: len(journal.began()) == 4)
        assert set(others) < set(supervisor.workers())
        gates.open()
        eventually(lambda: admin.find() == [])
    assert len(journal.finished()) == 3


def test_repeatedly_killed_workers_lose_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids: list[int] = []
    killed = Consumer(
        "q", callback=ACT, concurrency=2, max_crashes=100, max_runs=100, retry_base_seconds=0.01
    )
    with supervise(killed) as supervisor:
        for n in range(1, 9):
            ids += publisher.put_many("q", [{"do": "spin", "seconds": 0.003}] * 40)
            eventually(lambda n=n: len(journal.began()) >= n * 20)  # type: ignore[misc]
            victim = eventually(
                lambda: journal.runs()[-1].pid in supervisor.workers() and journal.runs()[-1].pid
            )
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: admin.find() == [], within=20.0)
    assert set(journal.finished()) == set(ids)
    # Only a job whose worker was killed before it recorded the end may have run again.
    assert len(journal.began()) <= len(ids) + 8


def test_batch_mates_in_a_stopped_worker_run_elsewhere(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    held, *mates = publisher.put_many("q", [{"do": "hold"}, *[{}] * 4])
    with supervise(Consumer("q", callback=ACT, concurrency=2, batch=10)) as supervisor:
        eventually(lambda: held in journal.began())
        frozen = journal.runs_of(held)[0].pid
        supervisor.signal(frozen, signal.SIGSTOP)
        eventually(lambda: sorted(journal.finished()) == mates)
        gates.open()
        supervisor.signal(frozen, signal.SIGCONT)
        eventually(lambda: admin.find() == [])
    assert len(journal.began()) == 5


def test_stopped_worker_does_not_keep_the_supervisor_running(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT), grace_seconds=0.3) as supervisor:
        job_id = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [job_id])
        supervisor.signal(supervisor.worker(), signal.SIGSTOP)
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    assert (admin.get(job_id).state, admin.get(job_id).run_count) == (State.READY, 0)


def test_processes_of_a_callback_end_with_its_killed_worker(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, max_crashes=1)) as supervisor:
        publisher.put("q", {"do": "grandchild"})
        (line,) = eventually(lambda: journal.lines("grandchild"))
        supervisor.signal(supervisor.worker(), signal.SIGKILL)
        eventually(
            lambda: not any(text.startswith(f"{line['child']} ") for text in supervisor.processes())
        )


def test_acked_batch_mates_of_a_crashing_job_stay_acked(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [*[{}] * 50, {"do": "crash"}, *[{}] * 50])
    with supervise(Consumer("q", callback=ACT, batch=200, max_crashes=2)):
        eventually(
            lambda: [(job.id, job.state) for job in admin.find()] == [(ids[50], State.REJECTED)]
        )
    mates = sorted(job_id for job_id in journal.began() if job_id != ids[50])
    assert mates == ids[:50] + ids[51:]  # each once


def test_sigterm_to_a_worker_lets_its_job_finish_and_replaces_it(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        job_id = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [job_id])
        worker = supervisor.worker()
        supervisor.signal(worker, signal.SIGTERM)
        gates.open()
        eventually(lambda: supervisor.workers() not in ([], [worker]))
        assert journal.finished() == [job_id]
        assert admin.find() == []
