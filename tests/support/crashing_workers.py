"""A component whose worker crashes after it has settled a batch and claimed the next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskmaster.store import leases
from tests.support.journal import note, own_journal
from tests.support.kill_steps import kill_own_process
from tests.support.wrapped_functions import EXCHANGE, wrap_function

CRASH_AFTER_EXCHANGE = "tests.support.crashing_workers:crash_after_exchange"
MAX_CRASHES = 3


@contextmanager
def crash_after_exchange() -> Iterator[None]:
    """Crash after an exchange of batches, unless three workers have crashed before."""
    with wrap_function(EXCHANGE, wrap_exchange):
        yield


def wrap_exchange(exchange: Callable[..., leases.ClaimResult]) -> Callable[..., leases.ClaimResult]:
    def exchange_and_crash(
        conn: Any, done: Any, *arguments: Any, **keywords: Any
    ) -> leases.ClaimResult:
        result = exchange(conn, done, *arguments, **keywords)
        has_exchanged = done is not None and result.lease is not None
        if has_exchanged and len(own_journal().lines("crashing")) < MAX_CRASHES:
            note("crashing")
            kill_own_process()
        return result

    return exchange_and_crash
