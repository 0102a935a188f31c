"""Wait for facts, never for time."""

import select
import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.01

Fact = TypeVar("Fact")


def eventually(fact: Callable[[], Fact], *, within: float = 20.0) -> Fact:
    """Call `fact` every 10 ms until it returns something true, and return that.

    Fail after `within` seconds and show what it returned last. A fact that fails an assertion is
    not true yet.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() >= deadline
        try:
            found = fact()
        except AssertionError:
            if late:
                raise
        else:
            if found:
                return found
            assert not late, f"not within {within:g} s; the last result was {found!r}"
        pause(POLL_SECONDS)


def pause(seconds: float) -> None:
    """Let other processes run. Only for polling: no test may depend on how long it takes."""
    select.select([], [], [], seconds)
