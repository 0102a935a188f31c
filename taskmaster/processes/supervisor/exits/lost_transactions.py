"""The lost transactions: runs of `transactional` jobs that ended with their worker.

A service of the supervisor. Nothing of such a run was written, so the job is ready again, and other
workers may run it before this run is charged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.pending import AGAIN, PendingList, PendingWork
from taskmaster.processes.supervisor.exits.policy import crash_reports, settlements
from taskmaster.processes.supervisor.exits.worker_exit import WorkerExit
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.settlement import Settlement
from taskmaster.store import transactions
from taskmaster.store.connection import Connection

MOST_TRIES = 10_000  # over more than a quarter of an hour
WAIT_MS = 20  # for the server process of an exited worker to release its lock


@dataclass(slots=True)
class LostTransaction:
    """A run whose transaction was lost with its worker.

    `tries` counts the attempts to charge it. `sent` is a settlement whose result did not arrive, so
    it may have been written.
    """

    worker_exit: WorkerExit
    batch: UnsettledBatch
    tries: int = 0
    sent: Settlement | None = None

    @property
    def job_id(self) -> int:
        """The only job: a transaction is a batch of one."""
        current = [] if self.batch.current is None else [self.batch.current]
        (job_id,) = [*self.batch.ended, *self.batch.unstarted, *current]
        return job_id


@dataclass(slots=True)
class LostTransactions(BaseService):
    """Charges lost transactions when no other session holds their jobs.

    `report_crashes` is called with the runs that were charged a crash.
    """

    session: DatabaseSession
    report_crashes: Callable[[Sequence[CrashReport]], None]
    pending: PendingList = field(init=False)

    def __post_init__(self) -> None:
        self.pending = PendingList(self.session)

    def add(self, worker_exit: WorkerExit, batch: UnsettledBatch) -> None:
        """Charge a run as soon as possible, without waiting for others that are locked."""
        work = partial(self._charge, lost=LostTransaction(worker_exit, batch))
        subject = f"the charge of a lost run of worker {worker_exit.worker}"
        self.pending.add(PendingWork(subject, work))

    def run_due(self, now: float) -> None:
        """Try once to charge each of them that is due."""
        self.pending.run_due(now)

    def next_due(self) -> float:
        return self.pending.next_due()

    def close(self) -> None:
        """Try once more. What is left was never written: the job is ready again, uncharged."""
        self.pending.run_last()

    def _charge(self, conn: Connection, lost: LostTransaction) -> object:
        """Try to charge a lost transaction. Return AGAIN if another session runs the job now."""
        return None if self._try_charge(conn, lost) else AGAIN

    def _try_charge(self, conn: Connection, lost: LostTransaction) -> bool:
        """Try once to charge a lost transaction. Return False if it has to be tried again.

        The job's counts are read each time: other workers may have run the job since and been
        charged, and then this run is one more. A charge whose result was lost is repeated as it
        was. If it had been written, the repetition changes nothing.
        """
        lost.tries += 1
        settlement = repeated = lost.sent
        if settlement is None:
            settlement = self._settlement_now(conn, lost)
        if settlement is None or settlement.failure is None:
            return True
        lost.sent = settlement
        moved, is_locked = transactions.charge_lost(
            conn, self.session.schema, settlement, run=settlement.failure.run, wait_ms=WAIT_MS
        )
        lost.sent = settlement if is_locked and repeated else None
        if moved:
            self.report_crashes(crash_reports(lost.worker_exit, lost.batch, [settlement]))
        is_void = not is_locked and (repeated is not None or not settlement.crashed)
        return moved or is_void or lost.tries > MOST_TRIES

    def _settlement_now(self, conn: Connection, lost: LostTransaction) -> Settlement | None:
        """Return the settlement of the run according to the job's row now.

        Return None if there is nothing to write.
        """
        counts = transactions.counts(conn, self.session.schema, lost.job_id)
        found = settlements(lost.worker_exit, lost.batch, counts) if counts else []
        return found[0] if found else None
