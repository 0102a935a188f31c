"""What is still to be written of workers that have died."""

from collections import deque
from dataclasses import dataclass, field

from taskmaster.endings import Crash, Ending
from taskmaster.processes.ledger.burial import crashes, endings
from taskmaster.processes.ledger.death import Death
from taskmaster.processes.shared.scoreboard import UnsettledBatch
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

MOST_TRIES = 10_000  # a quarter of an hour and more
WAIT_MS = (
    20  # for the server process of a dead worker to let go: the supervisor has other things to do
)


@dataclass(slots=True)
class Charge:
    """A run that was lost with its transaction, and how often it was tried to charge it.

    `sent`: the charge, when its answer did not come: it may be written.
    """

    death: Death
    unsettled_batch: UnsettledBatch
    tries: int = 0
    sent: Ending | None = None

    @property
    def job_id(self) -> int:
        """A transaction is a batch of one."""
        running = [] if self.unsettled_batch.running is None else [self.unsettled_batch.running]
        (job_id,) = [*self.unsettled_batch.ended, *self.unsettled_batch.unstarted, *running]
        return job_id


@dataclass(slots=True)
class Debts:
    """Settles leases in the order of the deaths; charges lost transactions when nobody else holds their jobs.

    `crashes`: runs that were charged for a death, for those who want to be told. `fresh`: a death has come in since we
    last tried: that one need not wait for the locks that the others wait for.
    """

    schema: str
    deaths: deque[Death] = field(default_factory=deque)
    charges: deque[Charge] = field(default_factory=deque)
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
            if death.unsettled_batch is not None:
                self.bury(conn, death, death.unsettled_batch)
            leases.release_forgotten(conn, supervisor, death.worker)  # claimed with its last breath
            self.deaths.popleft()
            if death.unsettled_batch is not None and death.consumer.transactional:
                self.charges.append(Charge(death, death.unsettled_batch))
        for _ in range(len(self.charges)):
            if not self.paid(conn, self.charges[0]):
                self.charges.append(self.charges[0])
            self.charges.popleft()

    def bury(self, conn: Connection, death: Death, unsettled_batch: UnsettledBatch) -> None:
        """Settle a batch. The lease gone: the worker had settled it with its last breath."""
        if not death.consumer.transactional:
            found = endings(death, unsettled_batch, leases.counts(conn, unsettled_batch.token))
            if leases.settle(conn, unsettled_batch.token, found):
                self.crashes += crashes(death, unsettled_batch, found)
            return
        transactions.terminate(conn, self.schema, death.backend, f"taskmaster {death.worker}")

    def paid(self, conn: Connection, charge: Charge) -> bool:
        """Try it once. False: another runs the job and has it locked, or others were charged for it meanwhile.

        What the run was is looked up each time, for others may have lost the job since, and been charged: then this run
        is one more, and none is forgotten. A charge whose answer was lost is repeated as it was: written, it is void.
        """
        charge.tries += 1
        ending = repeated = charge.sent
        if ending is None:
            ending = self.owed_for(conn, charge)
        if ending is None or ending.failure is None:
            return True
        charge.sent = ending
        run = ending.failure["run"]
        moved, locked = transactions.charge_lost(
            conn, self.schema, ending, run=run, wait_ms=WAIT_MS
        )
        charge.sent = ending if locked and repeated else None
        if moved:
            self.crashes += crashes(charge.death, charge.unsettled_batch, [ending])
        void = not locked and (repeated is not None or not ending.crashed)
        return moved or void or charge.tries > MOST_TRIES

    def owed_for(self, conn: Connection, charge: Charge) -> Ending | None:
        """How the run is to end by what the job's row says now; None: there is nothing to be written."""
        counts = transactions.counts(conn, self.schema, charge.job_id)
        found = endings(charge.death, charge.unsettled_batch, counts) if counts else []
        return found[0] if found else None
