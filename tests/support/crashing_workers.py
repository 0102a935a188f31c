"""Workers that die with the jobs of their next batch in hand: settled the last one, claimed, and not yet begun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from taskmaster.store import leases
from tests.support.journal import note, own_journal
from tests.support.kill_steps import kill_oneself

DIES = "tests.support.crashing_workers:dies_after_an_exchange"
MOST_DEATHS = 3


@contextmanager
def dies_after_an_exchange() -> Iterator[None]:
    """The component of a worker that dies so, unless three have died before it."""
    exchange = leases.exchange

    def dying(conn: Any, done: Any, *arguments: Any, **keywords: Any) -> leases.ClaimResult:
        claimed = exchange(conn, done, *arguments, **keywords)
        if (
            done is not None
            and claimed.lease is not None
            and len(own_journal().lines("dying")) < MOST_DEATHS
        ):
            note("dying", pid_of_worker=os.getpid(), held=[row.id for row in claimed.lease.jobs])
            kill_oneself()
        return claimed

    with patch.object(leases, "exchange", dying):
        yield
