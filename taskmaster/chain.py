"""The onion of middlewares around a callback: folded once per worker, after the fork."""

from collections.abc import Callable, Sequence
from typing import cast

from taskmaster.errors import InvalidConfig, InvalidJob, InvalidOutcome
from taskmaster.job import ACK, Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware
from taskmaster.validation import check_delay


def build(middlewares: Sequence[Middleware], handler: Handler) -> Handler:
    """Wrap `handler`; the first middleware is the outermost."""
    for middleware in reversed(middlewares):
        handler = _wrapped(middleware, handler)
    return handler


def _wrapped(middleware: Middleware, handler: Handler) -> Handler:
    made: object = middleware(handler)
    if not callable(made):
        raise InvalidConfig(
            f"middleware {middleware!r} must return a handler, it returned {made!r}"
        )
    return cast(Handler, made)


def innermost(callback: Callable[[Job], Outcome | None]) -> Handler:
    """The callback as a handler: None means Ack, and what is no outcome raises InvalidOutcome."""

    def handler(job: Job) -> Outcome:
        outcome = callback(job)
        return ACK if outcome is None or isinstance(outcome, Ack) else checked(outcome)

    return handler


def checked(outcome: object, *, who: str = "the callback") -> Outcome:
    """`outcome`, when it is one that can be carried out. Raises InvalidOutcome, saying `who` answered it."""
    try:
        match outcome:
            case Ack() | Reject() | Retry(delay_seconds=None):
                return outcome
            case Retry(delay_seconds=delay) | Snooze(delay_seconds=delay):
                check_delay(delay)
                return outcome
    except InvalidJob as error:
        raise InvalidOutcome(f"{who} answered {outcome!r}: {error}") from None
    nothing = "None, " if who == "the callback" else ""
    raise InvalidOutcome(
        f"{who} answered {outcome!r:.200} ({type(outcome).__name__}); "
        f"allowed are {nothing}Ack(), Reject(reason), Retry(delay_seconds, reason), Snooze(delay_seconds)"
    )
