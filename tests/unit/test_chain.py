"""The chain of middlewares: its order, and the results that a callback may return."""

from collections.abc import Callable

import pytest

from taskmaster.chain import build, check_outcome, innermost
from taskmaster.errors import InvalidOutcome
from taskmaster.job import ACK, Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware
from taskmaster.testing import make_job


def tracer(name: str, seen: list[str]) -> Middleware:
    def middleware(handler: Handler) -> Handler:
        def tracer_handler(job: Job) -> Outcome:
            seen.append(f"{name} in")
            outcome = handler(job)
            seen.append(f"{name} out")
            return outcome

        return tracer_handler

    return middleware


def returning(result: object) -> Callable[[Job], Outcome | None]:
    """Make a callback that returns `result`, be it an outcome or not."""
    return lambda job: result  # type: ignore[return-value]


def test_first_middleware_is_the_outermost() -> None:
    seen: list[str] = []
    chain = build([tracer("a", seen), tracer("b", seen)], lambda job: ACK)

    assert chain(make_job()) is ACK
    assert seen == ["a in", "b in", "b out", "a out"]


def test_empty_chain_adds_no_layer() -> None:
    handler = innermost(lambda job: None)

    assert build([], handler) is handler


def test_callback_that_returns_none_acks() -> None:
    assert innermost(lambda job: None)(make_job()) is ACK


@pytest.mark.parametrize(
    "outcome",
    [Ack(), Reject("broken"), Retry(), Retry(0), Retry(1.5, "busy"), Snooze(0), Snooze(86_400)],
)
def test_outcomes_pass_unchanged(outcome: Outcome) -> None:
    assert innermost(lambda job: outcome)(make_job()) == outcome


@pytest.mark.parametrize("result", [True, False, 0, "ack", {"ack": True}, Ack, Reject, ...])
def test_result_that_is_no_outcome_fails_the_run(result: object) -> None:
    with pytest.raises(
        InvalidOutcome, match=r"^the callback returned .*; allowed are None, Ack\(\), Reject"
    ):
        innermost(returning(result))(make_job())


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "soon", True, 1e12])
def test_delay_that_cannot_be_scheduled_is_refused(delay: object) -> None:
    for outcome in (Retry(delay), Snooze(delay)):  # type: ignore[arg-type]
        with pytest.raises(InvalidOutcome, match=r"^the callback returned .*delay"):
            check_outcome(outcome)


def test_huge_result_makes_no_huge_sentence() -> None:
    with pytest.raises(InvalidOutcome) as refused:
        check_outcome("x" * 1_000_000)

    assert len(str(refused.value)) < 500


def test_exception_passes_through_every_layer() -> None:
    seen: list[str] = []

    def failing(job: Job) -> Outcome:
        raise KeyError("path")

    with pytest.raises(KeyError, match="path"):
        build([tracer("a", seen)], innermost(failing))(make_job())
    assert seen == ["a in"]
