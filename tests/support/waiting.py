"""Waiting for facts, never for time."""

import select
import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.01

Answer = TypeVar("Answer")


def eventually(fact: Callable[[], Answer], *, within: float = 20.0) -> Answer:
    """Ask every 10 ms until the answer is true, and return it; after `within` seconds fail, showing the last answer.

    A fact that fails an assertion is not true yet.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() >= deadline
        try:
            answer = fact()
        except AssertionError:
            if late:
                raise
        else:
            if answer:
                return answer
            assert not late, f"not within {within:g} s; the last answer was {answer!r}"
        pause(POLL_SECONDS)


def pause(seconds: float) -> None:
    """Let others run. Only for polling: nothing may depend on how long it takes."""
    select.select([], [], [], seconds)
