"""What becomes of the batch of a dead worker."""

from dataclasses import replace
from uuid import uuid4

import orjson
import pytest

from taskmaster import Consumer, Failure, State
from taskmaster.processes.ledger.policy import settlements
from taskmaster.processes.ledger.worker_exit import WorkerExit
from taskmaster.processes.pool.cause import cause
from taskmaster.processes.shared.scoreboard import UnsettledBatch
from taskmaster.settlement import Settlement, to_entry

CONSUMER = Consumer("q", callback=lambda job: None)
REJECTED = Settlement(
    2, State.REJECTED, charged=True, failure=Failure(cause="rejected", message="")
)


def unsettled_batch(running: int | None = 3) -> UnsettledBatch:
    """Job 1 was acked, job 2 rejected, job 3 ran, 4 and 5 were not started."""
    entry = orjson.loads(orjson.dumps(to_entry(REJECTED)))
    return UnsettledBatch(uuid4(), [1, 2], [entry], running, 1_000_000_000, [4, 5])


def worker_exit(*, cut_off: bool = False) -> WorkerExit:
    return WorkerExit(
        CONSUMER, "host:1:1", 4711, "signal SIGKILL", cut_off, unsettled_batch(), 3_500_000_000
    )


COUNTS = dict.fromkeys([1, 2, 3, 4, 5], (0, 0))


def test_only_the_job_that_ran_is_charged_for_the_death_of_its_worker() -> None:
    found = {
        settlement.id: settlement
        for settlement in settlements(worker_exit(), unsettled_batch(), COUNTS)
    }
    assert sorted(found) == [2, 3, 4, 5]  # job 1 was acked
    assert found[2] == REJECTED
    assert (found[3].charged, found[3].crashed) == (True, True)
    assert [(found[n].state, found[n].charged) for n in (4, 5)] == [(State.READY, False)] * 2


def test_the_history_says_who_died_of_what_and_when() -> None:
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


def test_a_job_cut_off_by_a_shutdown_is_not_charged() -> None:
    cut = next(
        settlement
        for settlement in settlements(worker_exit(cut_off=True), unsettled_batch(), COUNTS)
        if settlement.id == 3
    )
    assert (cut.state, cut.charged, cut.crashed) == (State.READY, False, False)


def test_a_job_that_the_lease_no_longer_holds_is_charged_to_nobody() -> None:
    found = settlements(worker_exit(), unsettled_batch(), {1: (0, 0)})
    assert 3 not in [settlement.id for settlement in found]


def test_earlier_runs_and_crashes_count() -> None:
    found = settlements(worker_exit(), unsettled_batch(), {**COUNTS, 3: (2, 2)})
    charged = next(settlement for settlement in found if settlement.id == 3)
    assert charged.state == State.REJECTED
    assert charged.failure is not None
    assert charged.failure.run == 3


def test_a_death_between_two_jobs_charges_nobody() -> None:
    found = settlements(worker_exit(), replace_running(None), COUNTS)
    assert not any(settlement.crashed for settlement in found)


def replace_running(running: int | None) -> UnsettledBatch:
    return unsettled_batch()._replace(running=running)


def test_an_ending_survives_the_way_through_the_slot() -> None:
    full = replace(
        REJECTED, crashed=True, delay_seconds=1.5, failure=Failure(cause="crash", message="…")
    )
    entry = orjson.loads(orjson.dumps(to_entry(full)))
    (found, *_) = settlements(worker_exit(), unsettled_batch()._replace(entries=[entry]), {})
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
def test_a_cause_is_said_in_words(status: int, words: str) -> None:
    assert cause(status) == words
