"""What is still to be written of workers that have died."""

from collections import deque
from dataclasses import dataclass, field

from taskmaster.middleware import CrashReport
from taskmaster.processes.ledger.policy import crashes, settlements
from taskmaster.processes.ledger.worker_exit import WorkerExit
from taskmaster.processes.shared.scoreboard import UnsettledBatch
from taskmaster.settlement import Settlement
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

MOST_TRIES = 10_000  # a quarter of an hour and more
WAIT_MS = (
    20  # for the server process of a dead worker to let go: the supervisor has other things to do
)


@dataclass(slots=True)
class LostTransaction:
    """A run that was lost with its transaction, and how often it was tried to charge it.

    `sent`: the charge, when its answer did not come: it may be written.
    """

    worker_exit: WorkerExit
    unsettled_batch: UnsettledBatch
    tries: int = 0
    sent: Settlement | None = None

    @property
    def job_id(self) -> int:
        """A transaction is a batch of one."""
        running = [] if self.unsettled_batch.running is None else [self.unsettled_batch.running]
        (job_id,) = [*self.unsettled_batch.ended, *self.unsettled_batch.unstarted, *running]
        return job_id


@dataclass(slots=True)
class PendingSettlements:
    """Settles leases in the order of the deaths; charges lost transactions when nobody else holds their jobs.

    `crashes`: runs that were charged for a death, for those who want to be told. `fresh`: a death has come in since we
    last tried: that one need not wait for the locks that the others wait for.
    """

    schema: str
    exits: deque[WorkerExit] = field(default_factory=deque)
    lost_transactions: deque[LostTransaction] = field(default_factory=deque)
    crashes: list[CrashReport] = field(default_factory=list)
    fresh: bool = False

    @property
    def has_pending(self) -> bool:
        return bool(self.exits or self.lost_transactions)

    def take(self, worker_exit: WorkerExit) -> None:
        self.exits.append(worker_exit)
        self.fresh = True

    def flush(self, conn: Connection, supervisor: int) -> None:
        """Write what can be written now. Raises psycopg.Error; what was not written is kept."""
        self.fresh = False
        while self.exits:
            worker_exit = self.exits[0]
            if worker_exit.unsettled_batch is not None:
                self.settle(conn, worker_exit, worker_exit.unsettled_batch)
            leases.release_unacknowledged(
                conn, supervisor, worker_exit.worker
            )  # claimed with its last breath
            self.exits.popleft()
            if worker_exit.unsettled_batch is not None and worker_exit.consumer.transactional:
                self.lost_transactions.append(
                    LostTransaction(worker_exit, worker_exit.unsettled_batch)
                )
        for _ in range(len(self.lost_transactions)):
            if not self.try_charge(conn, self.lost_transactions[0]):
                self.lost_transactions.append(self.lost_transactions[0])
            self.lost_transactions.popleft()

    def settle(
        self, conn: Connection, worker_exit: WorkerExit, unsettled_batch: UnsettledBatch
    ) -> None:
        """Settle a batch. The lease gone: the worker had settled it with its last breath."""
        if not worker_exit.consumer.transactional:
            found = settlements(
                worker_exit, unsettled_batch, leases.counts(conn, unsettled_batch.token)
            )
            if leases.settle(conn, unsettled_batch.token, found):
                self.crashes += crashes(worker_exit, unsettled_batch, found)
            return
        transactions.terminate(
            conn, self.schema, worker_exit.backend, f"taskmaster {worker_exit.worker}"
        )

    def try_charge(self, conn: Connection, charge: LostTransaction) -> bool:
        """Try it once. False: another runs the job and has it locked, or others were charged for it meanwhile.

        What the run was is looked up each time, for others may have lost the job since, and been charged: then this run
        is one more, and none is forgotten. A charge whose answer was lost is repeated as it was: written, it is void.
        """
        charge.tries += 1
        settlement = repeated = charge.sent
        if settlement is None:
            settlement = self.settlement_for(conn, charge)
        if settlement is None or settlement.failure is None:
            return True
        charge.sent = settlement
        run = settlement.failure.run
        moved, locked = transactions.charge_lost(
            conn, self.schema, settlement, run=run, wait_ms=WAIT_MS
        )
        charge.sent = settlement if locked and repeated else None
        if moved:
            self.crashes += crashes(charge.worker_exit, charge.unsettled_batch, [settlement])
        void = not locked and (repeated is not None or not settlement.crashed)
        return moved or void or charge.tries > MOST_TRIES

    def settlement_for(self, conn: Connection, charge: LostTransaction) -> Settlement | None:
        """How the run is to end by what the job's row says now; None: there is nothing to be written."""
        counts = transactions.counts(conn, self.schema, charge.job_id)
        found = settlements(charge.worker_exit, charge.unsettled_batch, counts) if counts else []
        return found[0] if found else None
