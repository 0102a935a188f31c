"""The functions of the product that tests wrap from outside, because the product has no hooks.

Everything that calls them finds them in their module or class, so it calls the wrapper. A test
checks that they exist and are called this way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from taskmaster.processes.ipc.scoreboard import BatchRecord
from taskmaster.processes.worker import batch, transactional
from taskmaster.store import leases, transactions


class WrappedFunction(NamedTuple):
    owner: Any
    name: str


CLAIM = WrappedFunction(leases, "claim")
EXCHANGE = WrappedFunction(leases, "exchange")
SETTLE = WrappedFunction(leases, "settle")
RELEASE_UNACKNOWLEDGED = WrappedFunction(leases, "release_unacknowledged")
CLAIM_ONE = WrappedFunction(transactions, "claim_one")
END = WrappedFunction(transactions, "end")
CHARGE_LOST = WrappedFunction(transactions, "charge_lost")
RUN_LEASED = WrappedFunction(batch, "run_one")
RUN_TRANSACTIONAL = WrappedFunction(transactional, "run_one")
FINISH = WrappedFunction(BatchRecord, "finish")
WRAPPED_FUNCTIONS = [
    CLAIM,
    EXCHANGE,
    SETTLE,
    RELEASE_UNACKNOWLEDGED,
    CLAIM_ONE,
    END,
    CHARGE_LOST,
    RUN_LEASED,
    RUN_TRANSACTIONAL,
    FINISH,
]


@contextmanager
def wrap_function(
    function: WrappedFunction, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Replace a function by its wrapper until the end of the block."""
    owner, name = function
    with patch.object(owner, name, wrapper(getattr(owner, name))):
        yield
