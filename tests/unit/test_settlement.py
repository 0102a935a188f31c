"""The failure policy: from outcome to the state that a job goes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster import Ack, Consumer, Failure, Outcome, Reject, Retry, Snooze, State
from taskmaster.settlement import Run, for_crash, for_outcome, release, retry_delay


def consumer(
    max_runs: int = 5, max_crashes: int = 3, base: float = 10.0, longest: float = 3600.0
) -> Consumer:
    return Consumer(
        "q",
        callback=lambda job: None,
        max_runs=max_runs,
        max_crashes=max_crashes,
        retry_base_seconds=base,
        retry_max_seconds=longest,
    )


FIRST = Run(id=1, run=1, crashes=0)
FAILURE = Failure(cause="exception", message="")


def test_ack_needs_no_settlement() -> None:
    assert for_outcome(FIRST, Ack(), consumer(), None) is None


def test_rejected_job_is_not_run_again() -> None:
    settlement = for_outcome(FIRST, Reject("no good"), consumer(max_runs=100), FAILURE)
    assert settlement is not None
    assert (settlement.state, settlement.charged, settlement.failure) == (
        State.REJECTED,
        True,
        FAILURE,
    )


def test_failed_run_is_retried_until_max_runs() -> None:
    states = []
    for run in (1, 2, 3):
        settlement = for_outcome(Run(1, run, 0), Retry(), consumer(max_runs=3), FAILURE)
        assert settlement is not None
        assert settlement.charged
        states.append(settlement.state)
    assert states == [State.SCHEDULED, State.SCHEDULED, State.REJECTED]


@pytest.mark.parametrize("outcome", [Retry, Snooze])
@pytest.mark.parametrize(
    ("asked", "given"), [(0, 0.1), (0.0, 0.1), (0.05, 0.1), (0.1, 0.1), (0.2, 0.2), (86_400, 86400)]
)
def test_outcome_with_a_delay_has_that_delay_or_the_shortest(
    outcome: type[Retry | Snooze], asked: float, given: float
) -> None:
    settlement = for_outcome(FIRST, outcome(asked), consumer(), FAILURE)
    assert settlement is not None
    assert settlement.delay_seconds == given


def test_snooze_is_not_counted_even_in_the_last_run() -> None:
    settlement = for_outcome(Run(1, 5, 0), Snooze(60.0), consumer(max_runs=5), None)
    assert settlement is not None
    assert (settlement.state, settlement.charged, settlement.delay_seconds) == (
        State.SCHEDULED,
        False,
        60.0,
    )


def test_job_that_was_not_started_is_released_uncharged() -> None:
    settlement = release(7)
    assert (settlement.id, settlement.state, settlement.charged, settlement.crashed) == (
        7,
        State.READY,
        False,
        False,
    )


def test_first_crash_runs_again_at_once_and_the_second_waits() -> None:
    first = for_crash(Run(1, 1, 0), consumer(), FAILURE)
    second = for_crash(Run(1, 2, 1), consumer(), FAILURE)
    assert (first.state, first.delay_seconds) == (State.READY, 0.0)
    assert second.state == State.SCHEDULED
    assert second.delay_seconds > 0
    assert first.charged
    assert first.crashed


@pytest.mark.parametrize(("run", "crashes"), [(3, 2), (5, 0)])
def test_job_that_keeps_killing_its_worker_is_rejected(run: int, crashes: int) -> None:
    assert (
        for_crash(Run(1, run, crashes), consumer(max_runs=5, max_crashes=3), FAILURE).state
        == State.REJECTED
    )


def test_max_crashes_holds_if_max_runs_is_larger() -> None:
    assert (
        for_crash(Run(1, 3, 2), consumer(max_runs=1000, max_crashes=3), FAILURE).state
        == State.REJECTED
    )


def test_retry_delay_doubles_and_is_spread() -> None:
    delays = [retry_delay(3, consumer(base=10.0)) for _ in range(200)]
    assert 30.0 <= min(delays) < 33.0
    assert 47.0 < max(delays) <= 50.0


@given(st.integers(1, 100_000))
def test_retry_delay_is_bounded_and_never_overflows(run: int) -> None:
    assert 0 < retry_delay(run, consumer(longest=100.0)) <= 100.0


@given(
    st.sampled_from([Ack(), Reject(), Retry(), Retry(5.0), Snooze(5.0)]),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_every_settlement_is_a_transition_from_running(
    outcome: Outcome, run: int, crashes: int
) -> None:
    settlements = [
        for_outcome(Run(1, run, crashes), outcome, consumer(), FAILURE),
        for_crash(Run(1, run, crashes), consumer(), FAILURE),
    ]
    for settlement in settlements:
        assert settlement is None or settlement.state in {
            State.SCHEDULED,
            State.REJECTED,
            State.READY,
        }
        assert settlement is None or not settlement.crashed or settlement.charged
