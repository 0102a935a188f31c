"""What is still to be written of workers that have died."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmaster.endings import Crash
from taskmaster.processes.ledger.burial import crashes, endings
from taskmaster.processes.ledger.death import Death
from taskmaster.processes.shared.slots import Remains
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

MOST_TRIES = 10_000  # a quarter of an hour and more
WAIT_MS = 20  # for the server process of a dead worker to let go: the supervisor has other things to do


class Charge(NamedTuple):
    """A run that was lost with its transaction, and how often it was tried to charge it."""

    death: Death
    remains: Remains
    tries: int = 0

    @property
    def job_id(self) -> int:
        """A transaction is a batch of one."""
        running = [] if self.remains.running is None else [self.remains.running]
        (job_id,) = [*self.remains.ended, *self.remains.unstarted, *running]
        return job_id


@dataclass(slots=True)
class Debts:
    """Settles leases in the order of the deaths; charges lost transactions when nobody else holds their jobs.

    `crashes`: runs that were charged for a death, for those who want to be told. `fresh`: a death has come in since we
    last tried: that one need not wait for the locks that the others wait for.
    """

    schema: str
    deaths: deque[Death] = field(default_factory=deque)
    charges: list[Charge] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    fresh: bool = False

    @property
    def owed(self) -> bool:
        return bool(self.deaths or self.charges)

    def take(self, death: Death) -> None:
        self.deaths.append(death)
        self.fresh = True

    def pay(self, conn: Connection, supervisor: int) -> None:
        """Write what can be written now. Raises psycopg.Error; what was not written is kept."""
        self.fresh = False
        while self.deaths:
            death = self.deaths[0]
            if death.remains is not None:
                self.bury(conn, death, death.remains)
            leases.release_forgotten(conn, supervisor, death.worker)  # claimed with its last breath
            self.deaths.popleft()
        self.charges = [left for charge in self.charges if (left := self.paid(conn, charge)) is not None]

    def bury(self, conn: Connection, death: Death, remains: Remains) -> None:
        """Settle a batch. The lease gone: the worker had settled it with its last breath."""
        if not death.consumer.transactional:
            found = endings(death, remains, leases.counts(conn, remains.token))
            if leases.settle(conn, remains.token, found):
                self.crashes += crashes(death, remains, found)
            return
        transactions.terminate(conn, self.schema, death.backend, f"taskmaster {death.worker}")
        self.charges.append(Charge(death, remains))

    def paid(self, conn: Connection, charge: Charge) -> Charge | None:
        """What is left of it; when nothing is, other workers may run the job again."""
        left = self.charge(conn, charge)
        if left is None and charge.death.slot is not None:
            charge.death.slot.forget(charge.remains)
        return left

    def charge(self, conn: Connection, charge: Charge) -> Charge | None:
        """What is left of it: while another runs the job it is locked, and that run's end may make the charge void.

        What the run was is looked up each time. Others may have lost the job since, and been charged: then this run is
        one more, and none is forgotten.
        """
        death, remains, tries = charge
        counts = transactions.counts(conn, self.schema, charge.job_id)
        (ending,) = endings(death, remains, counts) or (None,)
        if not counts or ending is None or ending.failure is None:
            return None
        run = ending.failure["run"]
        moved, locked = transactions.charge_lost(conn, self.schema, ending, run=run, wait_ms=WAIT_MS)
        if moved:
            self.crashes += crashes(death, remains, [ending])
        settled = moved or not (locked or ending.crashed)
        return None if settled or tries >= MOST_TRIES else charge._replace(tries=tries + 1)
