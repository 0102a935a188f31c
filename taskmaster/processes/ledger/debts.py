"""What is still to be written of workers that have died."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmaster.endings import Crash, Ending
from taskmaster.processes.ledger.burial import crashes, endings
from taskmaster.processes.ledger.death import Death
from taskmaster.processes.shared.slots import Remains
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

MOST_TRIES = 10_000  # a quarter of an hour and more
WAIT_MS = 20  # for the server process of a dead worker to let go: the supervisor has other things to do


class Charge(NamedTuple):
    """A run that was lost with its transaction, and how often it was tried to charge it."""

    ending: Ending
    run: int
    tries: int = 0


@dataclass(slots=True)
class Debts:
    """Settles leases in the order of the deaths; charges lost transactions when nobody else holds their jobs.

    `crashes`: runs that were charged for a death, for those who want to be told.
    """

    schema: str
    deaths: deque[Death] = field(default_factory=deque)
    charges: list[Charge] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)

    @property
    def owed(self) -> bool:
        return bool(self.deaths or self.charges)

    def pay(self, conn: Connection, supervisor: int) -> None:
        """Write what can be written now. Raises psycopg.Error; what was not written is kept."""
        while self.deaths:
            death = self.deaths[0]
            if death.remains is not None:
                self.bury(conn, death, death.remains)
            leases.release_forgotten(conn, supervisor, death.worker)  # claimed with its last breath
            self.deaths.popleft()
        self.charges = [left for charge in self.charges if (left := self.charge(conn, charge)) is not None]

    def bury(self, conn: Connection, death: Death, remains: Remains) -> None:
        """Settle a batch. The lease gone: the worker had settled it with its last breath."""
        if not death.consumer.transactional:
            found = endings(death, remains, leases.counts(conn, remains.token))
            if leases.settle(conn, remains.token, found):
                self.crashes += crashes(death, remains, found)
            return
        transactions.terminate(conn, self.schema, death.backend, f"taskmaster {death.worker}")
        (job_id,) = [*remains.ended, *remains.unstarted, *([] if remains.running is None else [remains.running])]
        found = endings(death, remains, transactions.counts(conn, self.schema, job_id))
        self.crashes += crashes(death, remains, found)
        self.charges += [Charge(ending, ending.failure["run"]) for ending in found if ending.failure]

    def charge(self, conn: Connection, charge: Charge) -> Charge | None:
        """What is left of it: while another runs the job it is locked, and that run's end may make the charge void."""
        done = transactions.charge_lost(conn, self.schema, charge.ending, run=charge.run, wait_ms=WAIT_MS)
        return None if done or charge.tries >= MOST_TRIES else charge._replace(tries=charge.tries + 1)
