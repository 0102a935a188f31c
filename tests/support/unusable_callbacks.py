"""Callbacks and middlewares that are wrong in ways of their own, or that tests of fencing need."""

from collections.abc import Iterator
from typing import Any

from taskmaster import Handler, Job, Outcome, Reject
from tests.support.journal import note_job, wait_at


def reject_at_the_gate(job: Job) -> Outcome:
    """Hold, and end in a way that stays to be seen: with one failure per ending that was written."""
    note_job("began", job)
    wait_at()
    note_job("ended", job)
    return Reject("as it should be")


def takes_nothing() -> None:
    """No callback: it takes no job."""


def generates(job: Job) -> Iterator[None]:
    """No callback: its body would never run."""
    yield


def forgetful(handler: Handler) -> Handler:
    """A middleware that forgets to return what the handler answered."""

    def handled(job: Job) -> Any:
        handler(job)

    return handled
