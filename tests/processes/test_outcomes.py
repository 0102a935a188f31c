"""The state of a job after its callback has returned or raised."""

import os
import socket

import pytest

from taskmaster import Admin, Consumer, JobNotFound, JobRecord, Publisher, State
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.unusable_callbacks import return_nothing


def is_gone(admin: Admin, job_id: int) -> bool:
    try:
        admin.get(job_id)
    except JobNotFound:
        return True
    return False


def wait_for_state(admin: Admin, job_id: int, state: State) -> JobRecord:
    """Wait until the job is in a state, and return it."""
    eventually(lambda: admin.get(job_id).state == state)
    return admin.get(job_id)


def test_acked_job_is_gone_and_was_run_once(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT)):
        job_id = publisher.put("q", {"do": "ack"})
        eventually(lambda: is_gone(admin, job_id))
    assert journal.finished() == [job_id]


def test_rejected_job_keeps_its_data_and_runs_only_if_requeued(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    payload = {"do": "reject", "reason": "the image is broken: ä", "kept": [1, None]}
    with supervise(Consumer("q", callback=ACT)):
        job_id = publisher.put("q", payload, headers={"trace": "t"}, priority=4)
        record = wait_for_state(admin, job_id, State.REJECTED)
        assert (record.payload, record.headers, record.priority) == (payload, {"trace": "t"}, 4)
        assert record.run_count == 1
        other = publisher.put("q")
        eventually(lambda: is_gone(admin, other))
        assert len(journal.runs_of(job_id)) == 1

        admin.requeue(job_id)
        eventually(lambda: len(admin.get(job_id).failures) == 2)
        again = wait_for_state(admin, job_id, State.REJECTED)
        assert again.run_count == 1
        assert [run.run for run in journal.runs_of(job_id)] == [1, 1]
        assert [failure.message for failure in again.failures] == ["the image is broken: ä"] * 2


def test_exception_is_retried_with_backoff_until_max_runs(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=3, retry_base_seconds=0.1)):
        job_id = publisher.put("q", {"do": "raise"})
        record = wait_for_state(admin, job_id, State.REJECTED)
    runs = journal.runs_of(job_id)
    assert [run.run for run in runs] == [1, 2, 3]
    assert runs[1].began - runs[0].began >= 0.075
    assert runs[2].began - runs[1].began >= 0.150
    assert record.run_count == 3
    assert [failure.run for failure in record.failures] == [1, 2, 3]


def test_failure_records_exception_place_run_and_duration(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=1)) as supervisor:
        worker = supervisor.worker()
        job_id = publisher.put("q", {"do": "raise_unstorable"})
        (failure,) = wait_for_state(admin, job_id, State.REJECTED).failures
        assert supervisor.worker() == worker  # an exception ends the run, not the worker
    assert failure.cause == "exception"
    assert failure.message == "ValueError: a NUL \ufffd, a surrogate ?, quotes ' \" and \\ and 🦀"
    assert "in _raise_unstorable\n" in failure.traceback
    assert f"{os.sep}taskmaster{os.sep}processes" not in failure.traceback
    assert (failure.run, failure.host) == (1, socket.gethostname())
    assert failure.worker.startswith(f"{socket.gethostname()}:")
    assert failure.duration_seconds is not None
    assert 0 <= failure.duration_seconds < 5
    assert failure.at.endswith("+00:00")


def test_job_that_succeeds_the_second_time_is_acked(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, retry_base_seconds=0.01)):
        job_id = publisher.put("q", {"do": "raise_once"})
        eventually(lambda: is_gone(admin, job_id))
    assert [run.run for run in journal.runs_of(job_id)] == [1, 2]


def test_callback_chooses_the_delay_of_its_retry(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(Consumer("q", callback=ACT)):
        job_id = publisher.put(
            "q", {"do": "retry", "seconds": 3600, "reason": "the printer is busy"}
        )
        record = wait_for_state(admin, job_id, State.SCHEDULED)
    assert record.run_count == 1
    assert record.run_at is not None
    assert 3500 < (record.run_at - record.created_at).total_seconds() < 3700
    assert (record.failures[0].cause, record.failures[0].message) == (
        "retry",
        "the printer is busy",
    )


def test_snooze_does_not_use_up_a_run(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=1)):
        job_id = publisher.put("q", {"do": "snooze_once", "seconds": 0.05})
        eventually(lambda: is_gone(admin, job_id))
    first, second = journal.runs_of(job_id)
    assert (first.run, second.run) == (1, 1)
    assert second.began - first.began >= 0.05


def test_result_that_is_no_outcome_is_recorded_as_a_failure(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    results: list[object] = ["done", True, 0, ["ack"], {"ack": 1}]
    with supervise(Consumer("q", callback=ACT, max_runs=1)):
        ids = publisher.put_many("q", [{"do": "unknown", "result": result} for result in results])
        for job_id, result in zip(ids, results, strict=True):
            (failure,) = wait_for_state(admin, job_id, State.REJECTED).failures
            assert failure.cause == "exception"
            assert "InvalidOutcome" in failure.message
            assert repr(result) in failure.message
            assert "allowed are None, Ack()" in failure.message


def test_middleware_that_returns_no_outcome_fails_the_run(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    middleware = ["tests.support.callbacks:return_42"]
    with supervise(Consumer("q", callback=ACT, max_runs=1, middleware=middleware)):
        job_id = publisher.put("q")
        (failure,) = wait_for_state(admin, job_id, State.REJECTED).failures
    assert "returned 42" in failure.message


@pytest.mark.parametrize(
    ("act", "word"), [("sys_exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")]
)
def test_exit_in_a_callback_fails_the_run_and_not_the_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, act: str, word: str
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=1)) as supervisor:
        worker = supervisor.worker()
        job_id = publisher.put("q", {"do": act})
        (failure,) = wait_for_state(admin, job_id, State.REJECTED).failures
        assert word in failure.message
        assert supervisor.worker() == worker


def test_failing_job_does_not_affect_its_batch_mates(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    asked = ["ack", "raise", "reject", "ack", "retry", "unknown", "ack"]
    ids = publisher.put_many("q", [{"do": do, "seconds": 3600} for do in asked])
    with supervise(Consumer("q", callback=ACT, batch=10, max_runs=1)):
        eventually(lambda: len(journal.finished()) == len(asked))
        eventually(
            lambda: not admin.find(state=State.RUNNING) and not admin.find(state=State.READY)
        )
    assert journal.began() == ids
    assert {record.id for record in admin.find()} == {
        job_id for job_id, do in zip(ids, asked, strict=True) if do != "ack"
    }
    assert {record.state for record in admin.find()} == {State.REJECTED}


def test_more_failures_than_the_row_holds_are_not_lost(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{"do": "reject", "reason": "x" * 1_900}] * 400)
    with supervise(Consumer("q", callback=ACT, batch=500)):
        eventually(lambda: len(admin.find(state=State.REJECTED, most=500)) == 400)
    assert sorted(journal.began()) == ids


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("reject_unwritable", "a Unwritable that cannot be written: RuntimeError: no words"),
        ("reject_fatally", "a Fatal that cannot be written: SystemExit: no words and no process"),
        ("raise_unwritable", "SyntaxError, which cannot be written (TypeError)"),
    ],
)
def test_reason_that_cannot_be_written_costs_no_outcome(
    supervise: Supervise, publisher: Publisher, admin: Admin, do: str, message: str
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=1)) as supervisor:
        worker = supervisor.worker()
        record = wait_for_state(admin, publisher.put("q", {"do": do}), State.REJECTED)
        assert message in record.failures[0].message
        assert supervisor.worker() == worker


def test_middleware_that_returns_none_is_named_in_the_failure(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(Consumer("q", callback=ACT, middleware=[return_nothing], max_runs=1)):
        job_id = publisher.put("q")
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    assert failure.message.startswith("taskmaster.InvalidOutcome: a middleware returned None")
    assert "the callback" not in failure.message


@pytest.mark.parametrize(("do", "cause"), [("reject", "rejected"), ("retry", "retry")])
@pytest.mark.parametrize("reason", ["", " \n"])
def test_outcome_with_an_empty_reason_leaves_a_message(
    supervise: Supervise, publisher: Publisher, admin: Admin, do: str, cause: str, reason: str
) -> None:
    with supervise(Consumer("q", callback=ACT, max_runs=1)):
        job_id = publisher.put("q", {"do": do, "reason": reason})
        record = wait_for_state(admin, job_id, State.REJECTED)
    assert [(failure.cause, failure.message) for failure in record.failures] == [(cause, cause)]
