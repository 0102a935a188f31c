"""The pending settlements: batches of workers that exited, and jobs to release.

A service of the supervisor. What cannot be written now is kept until the database takes it.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.lost_transactions import LostTransactions
from taskmaster.processes.supervisor.exits.pending import PendingList, PendingWork
from taskmaster.processes.supervisor.exits.policy import crash_reports, settlements
from taskmaster.processes.supervisor.exits.worker_exit import WorkerExit
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.supervisor")


@dataclass(slots=True)
class PendingSettlements(BaseService):
    """The outbox of the pool. It releases jobs and settles batches, in the order of the exits.

    `report_crashes` is called with the runs that were charged a crash. Runs whose transaction was
    lost are passed on to `lost_transactions`.
    """

    session: DatabaseSession
    lost_transactions: LostTransactions
    report_crashes: Callable[[Sequence[CrashReport]], None]
    pending: PendingList = field(init=False)
    last_settled_at: float = -math.inf

    def __post_init__(self) -> None:
        self.pending = PendingList(self.session)

    # -- the outbox

    def settle(self, worker_exit: WorkerExit) -> None:
        """Settle the batch of a worker that exited, as soon as the database responds."""
        name = worker_exit.worker
        work = partial(self._settle_exit, worker_exit=worker_exit)
        self.pending.add(PendingWork(f"the settlement of worker {name}", work, worker=name))

    def release(self, token: UUID, ids: Sequence[int]) -> None:
        """Release jobs that their worker will not start, as soon as the database responds."""
        work = partial(leases.release, token=token, ids=ids)
        self.pending.add(PendingWork("the release of jobs that have not started", work))

    # -- the service

    def run_due(self, now: float) -> None:
        """Write what can be written now."""
        self.pending.run_due(now)

    def next_due(self) -> float:
        return self.pending.next_due()

    def close(self) -> None:
        """Write the rest if the database still responds. Later supervisors rescue what is left."""
        self.pending.run_last()
        exits = self.pending.workers()
        if exits:
            log.warning(
                "exits not settled, the jobs of their workers are rescued later and may run again: "
                "exits=%d",
                len(exits),
            )

    def _settle_exit(self, conn: Connection, worker_exit: WorkerExit) -> None:
        batch, is_transactional = worker_exit.batch, worker_exit.consumer.is_transactional
        if batch is not None and is_transactional:
            name = f"taskmaster {worker_exit.worker}"
            transactions.terminate(conn, self.session.schema, worker_exit.backend, name)
        elif batch is not None:
            self._settle_batch(conn, worker_exit, batch)
        leases.release_unacknowledged(
            conn,
            self.session.registered_id,
            worker_exit.worker,
            reject_once=self.session.may_have_failed_over,
        )
        self.last_settled_at = time.monotonic()
        if batch is not None and is_transactional:
            self.lost_transactions.add(worker_exit, batch)

    def _settle_batch(
        self, conn: Connection, worker_exit: WorkerExit, batch: UnsettledBatch
    ) -> None:
        """Settle a lease. If it is gone, the worker had settled it just before it exited.

        Raises psycopg.Error if a job can be settled in no form. It stays in the lease, and the
        others are settled.
        """
        found = settlements(worker_exit, batch, leases.counts(conn, batch.token))
        result = leases.settle_in_any_form(conn, batch.token, found)
        if result.spoiled:
            raise result.spoiled[0][1]
        if result.settled:
            self.report_crashes(crash_reports(worker_exit, batch, found))
