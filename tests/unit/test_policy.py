"""The settlements of a batch whose worker has exited."""

from dataclasses import replace
from uuid import uuid4

import orjson
import pytest

from taskmaster import Consumer, Failure, State
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.exits.cause import exit_reason
from taskmaster.processes.supervisor.exits.policy import settlements
from taskmaster.processes.supervisor.exits.worker_exit import (
    Crashed,
    LimitExceeded,
    Shutdown,
    WorkerExit,
)
from taskmaster.processes.system.exit_status import describe_status
from taskmaster.settlement import Settlement, to_entry

CONSUMER = Consumer("q", callback=lambda job: None)
REJECTED = Settlement(
    2, State.REJECTED, charged=True, failure=Failure(cause="rejected", message="")
)


def unsettled_batch(current: int | None = 3) -> UnsettledBatch:
    """Return a batch: job 1 acked, job 2 rejected, job 3 running, 4 and 5 not started."""
    entry = orjson.loads(orjson.dumps(to_entry(REJECTED)))
    return UnsettledBatch(
        token=uuid4(),
        ended=[1, 2],
        entries=[entry],
        current=current,
        started_ns=1_000_000_000,
        unstarted=[4, 5],
    )


def worker_exit(*, cut_off: bool = False) -> WorkerExit:
    cause = "signal SIGKILL"
    return WorkerExit(
        consumer=CONSUMER,
        worker="host:1:1",
        pid=4711,
        reason=Shutdown(cause) if cut_off else Crashed(cause),
        batch=unsettled_batch(),
        exited_ns=3_500_000_000,
    )


COUNTS = dict.fromkeys([1, 2, 3, 4, 5], (0, 0))


def test_only_the_current_job_is_charged_for_a_crash() -> None:
    found = {
        settlement.id: settlement
        for settlement in settlements(worker_exit(), unsettled_batch(), COUNTS)
    }
    assert sorted(found) == [2, 3, 4, 5]  # job 1 was acked
    assert found[2] == REJECTED
    assert (found[3].charged, found[3].crashed) == (True, True)
    assert [(found[n].state, found[n].charged) for n in (4, 5)] == [(State.READY, False)] * 2


def test_failure_names_worker_cause_and_duration() -> None:
    charged = next(
        settlement
        for settlement in settlements(worker_exit(), unsettled_batch(), COUNTS)
        if settlement.id == 3
    )
    assert charged.failure is not None
    assert charged.failure.cause == "signal SIGKILL"
    assert (charged.failure.run, charged.failure.worker) == (1, "host:1:1")
    assert charged.failure.duration_seconds == 2.5
    assert "pid 4711" in charged.failure.message


def test_job_cut_off_by_a_shutdown_is_not_charged() -> None:
    cut = next(
        settlement
        for settlement in settlements(worker_exit(cut_off=True), unsettled_batch(), COUNTS)
        if settlement.id == 3
    )
    assert (cut.state, cut.charged, cut.crashed) == (State.READY, False, False)


@pytest.mark.parametrize("was_cut_off", [True, False])
def test_shutdown_charges_no_job_that_was_over_a_limit(was_cut_off: bool) -> None:
    limit = LimitExceeded(
        job_id=3, started_ns=1_000_000_000, cause="timeout", sentence="still running"
    )
    reason = exit_reason("signal SIGKILL", unsettled_batch(), limit=limit, was_cut_off=was_cut_off)
    assert reason == (Shutdown("shutdown") if was_cut_off else limit)


def test_job_that_the_lease_no_longer_holds_is_not_charged() -> None:
    found = settlements(worker_exit(), unsettled_batch(), {1: (0, 0)})
    assert 3 not in [settlement.id for settlement in found]


def test_earlier_runs_and_crashes_count() -> None:
    found = settlements(worker_exit(), unsettled_batch(), {**COUNTS, 3: (2, 2)})
    charged = next(settlement for settlement in found if settlement.id == 3)
    assert charged.state == State.REJECTED
    assert charged.failure is not None
    assert charged.failure.run == 3


def test_crash_between_two_jobs_charges_none() -> None:
    found = settlements(worker_exit(), unsettled_batch(None), COUNTS)
    assert not any(settlement.crashed for settlement in found)


def test_settlement_survives_the_scoreboard() -> None:
    full = replace(
        REJECTED, crashed=True, delay_seconds=1.5, failure=Failure(cause="crash", message="…")
    )
    entry = orjson.loads(orjson.dumps(to_entry(full)))
    (found, *_) = settlements(worker_exit(), replace(unsettled_batch(), entries=[entry]), {})
    assert found == full


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit code 0"),
        (3 << 8, "exit code 3"),
        (9, "signal SIGKILL"),
        (11, "signal SIGSEGV"),
        (40, "signal 40"),
    ],
)
def test_wait_status_is_described_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words


@pytest.mark.parametrize("missing", [[1, 3], [4, 5], [1, 2, 3, 4, 5]])
def test_job_that_the_row_does_not_name_is_never_acked(missing: list[int]) -> None:
    whole = unsettled_batch()
    batch = replace(
        whole,
        ended=[job_id for job_id in whole.ended if job_id not in missing],
        entries=[] if 2 in missing else whole.entries,
        current=None if 3 in missing else 3,
        unstarted=[job_id for job_id in whole.unstarted if job_id not in missing],
    )
    found = {one.id: one.state for one in settlements(worker_exit(), batch, COUNTS)}
    assert {found[job_id] for job_id in missing} == {State.READY}


@pytest.mark.parametrize("change", [{"state": "vanished"}, {"state": 7}, {"more": 1}])
def test_ending_of_an_unknown_kind_never_means_ack(change: dict[str, object]) -> None:
    whole = unsettled_batch()
    batch = replace(whole, entries=[{**whole.entries[0], **change}])
    found = {one.id for one in settlements(worker_exit(), batch, COUNTS)}
    assert found == {1, 2, 3, 4, 5}
