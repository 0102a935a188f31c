"""The onion: order, and what a callback may answer."""

from collections.abc import Callable

import pytest

from taskmaster.chain import build, checked, innermost
from taskmaster.errors import InvalidOutcome
from taskmaster.job import ACK, Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware
from taskmaster.testing import make_job


def noting(name: str, seen: list[str]) -> Middleware:
    def middleware(handler: Handler) -> Handler:
        def noted(job: Job) -> Outcome:
            seen.append(f"{name} in")
            outcome = handler(job)
            seen.append(f"{name} out")
            return outcome

        return noted

    return middleware


def answering(answer: object) -> Callable[[Job], Outcome | None]:
    """A callback that answers whatever it is told to, outcome or not."""
    return lambda job: answer  # type: ignore[return-value]


def test_the_first_middleware_is_the_outermost() -> None:
    seen: list[str] = []
    chain = build([noting("a", seen), noting("b", seen)], lambda job: ACK)

    assert chain(make_job()) is ACK
    assert seen == ["a in", "b in", "b out", "a out"]


def test_an_empty_chain_adds_no_layer_to_the_hot_path() -> None:
    handler = innermost(lambda job: None)

    assert build([], handler) is handler


def test_a_callback_that_returns_nothing_has_acked() -> None:
    assert innermost(lambda job: None)(make_job()) is ACK


@pytest.mark.parametrize(
    "outcome",
    [Ack(), Reject("broken"), Retry(), Retry(0), Retry(1.5, "busy"), Snooze(0), Snooze(86_400)],
)
def test_outcomes_pass_as_they_are(outcome: Outcome) -> None:
    assert innermost(lambda job: outcome)(make_job()) == outcome


@pytest.mark.parametrize("answer", [True, False, 0, "ack", {"ack": True}, Ack, Reject, ...])
def test_an_unknown_answer_is_a_failure_that_says_so_not_a_reject(answer: object) -> None:
    with pytest.raises(
        InvalidOutcome, match=r"^the callback answered .*; allowed are None, Ack\(\), Reject"
    ):
        innermost(answering(answer))(make_job())


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "soon", True, 1e12])
def test_a_delay_that_cannot_be_scheduled_is_refused(delay: object) -> None:
    for outcome in (Retry(delay), Snooze(delay)):  # type: ignore[arg-type]
        with pytest.raises(InvalidOutcome, match=r"^the callback answered .*delay"):
            checked(outcome)


def test_a_huge_answer_makes_no_huge_sentence() -> None:
    with pytest.raises(InvalidOutcome) as refused:
        checked("x" * 1_000_000)

    assert len(str(refused.value)) < 500


def test_an_exception_passes_through_every_layer() -> None:
    seen: list[str] = []

    def failing(job: Job) -> Outcome:
        raise KeyError("path")

    with pytest.raises(KeyError, match="path"):
        build([noting("a", seen)], innermost(failing))(make_job())
    assert seen == ["a in"]
