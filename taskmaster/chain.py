"""The chain of middlewares around a callback, folded once per worker, after the fork."""

from collections.abc import Callable, Sequence
from typing import cast

from taskmaster.errors import InvalidConfig, InvalidJob, InvalidOutcome
from taskmaster.job import ACK, Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware
from taskmaster.validation import check_delay

CALLBACK = "the callback"
OUTCOMES = "Ack(), Reject(reason), Retry(delay_seconds, reason), Snooze(delay_seconds)"


def build(middlewares: Sequence[Middleware], handler: Handler) -> Handler:
    """Return `handler` wrapped in the middlewares. The first one is the outermost."""
    for middleware in reversed(middlewares):
        handler = _wrap(middleware, handler)
    return handler


def _wrap(middleware: Middleware, handler: Handler) -> Handler:
    made: object = middleware(handler)
    if not callable(made):
        raise InvalidConfig(
            f"middleware {middleware!r} must return a handler, it returned {made!r}"
        )
    return cast(Handler, made)


def innermost(callback: Callable[[Job], Outcome | None]) -> Handler:
    """Return the callback as a handler, for which None means Ack.

    The handler raises InvalidOutcome if the callback returns anything but an outcome or None.
    """

    def handler(job: Job) -> Outcome:
        outcome = callback(job)
        return ACK if outcome is None or isinstance(outcome, Ack) else check_outcome(outcome)

    return handler


def check_outcome(outcome: object, *, returned_by: str = CALLBACK) -> Outcome:
    """Return `outcome` if it can be carried out. Raises InvalidOutcome, naming `returned_by`."""
    try:
        match outcome:
            case Ack() | Reject() | Retry(delay_seconds=None):
                return outcome
            case Retry(delay_seconds=delay) | Snooze(delay_seconds=delay):
                check_delay(delay)
                return outcome
    except InvalidJob as error:
        raise InvalidOutcome(f"{returned_by} returned {outcome!r}: {error}") from None
    nothing = "None, " if returned_by == CALLBACK else ""
    raise InvalidOutcome(
        f"{returned_by} returned {outcome!r:.200} ({type(outcome).__name__}); "
        f"allowed are {nothing}{OUTCOMES}"
    )
