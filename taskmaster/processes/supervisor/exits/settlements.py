"""The pending settlements: batches of workers that exited, and jobs to release.

A service of the supervisor. What cannot be written now is kept until the database responds.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.lost_transactions import LostTransactions
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
    releases: deque[tuple[UUID, Sequence[int]]] = field(default_factory=deque)
    exits: deque[WorkerExit] = field(default_factory=deque)
    retry_at: float = 0.0
    last_settled_at: float = -math.inf

    def __post_init__(self) -> None:
        self.session.on_connect.append(self._on_connect)

    # -- the outbox

    def settle(self, worker_exit: WorkerExit) -> None:
        """Settle the batch of a worker that exited, as soon as the database responds."""
        self.exits.append(worker_exit)

    def release(self, token: UUID, ids: Sequence[int]) -> None:
        """Release jobs that their worker will not start, as soon as the database responds."""
        self.releases.append((token, ids))

    # -- the service

    @property
    def has_pending(self) -> bool:
        """Whether something is not written yet."""
        return bool(self.exits or self.releases)

    def run_due(self, now: float) -> None:
        """Write what can be written now."""
        if self.has_pending and now >= self.retry_at:
            self.retry_at = self.session.run_patiently(self.flush, now) or 0.0

    def next_due(self) -> float:
        return self.retry_at if self.has_pending and self.session.is_open else math.inf

    def close(self) -> None:
        """Write the rest if the database still responds. Later supervisors rescue what is left."""
        self.session.run_last(self.flush)
        if self.exits:
            log.warning(
                "exits not settled, the jobs of their workers are rescued later and may run again: "
                "exits=%d",
                len(self.exits),
            )

    def flush(self, conn: Connection) -> None:
        """Write everything, in the order in which it happened.

        Raises psycopg.Error. What was not written is kept.
        """
        while self.releases:
            leases.release(conn, *self.releases[0])
            self.releases.popleft()
        while self.exits:
            self._settle_exit(conn, self.exits[0])
            self.exits.popleft()
            self.last_settled_at = time.monotonic()

    def _on_connect(self) -> None:
        self.retry_at = 0.0

    def _settle_exit(self, conn: Connection, worker_exit: WorkerExit) -> None:
        batch, is_transactional = worker_exit.batch, worker_exit.consumer.is_transactional
        if batch is not None and is_transactional:
            name = f"taskmaster {worker_exit.worker}"
            transactions.terminate(conn, self.session.schema, worker_exit.backend, name)
        elif batch is not None:
            self._settle_batch(conn, worker_exit, batch)
        leases.release_unacknowledged(conn, self.session.registered_id, worker_exit.worker)
        if batch is not None and is_transactional:
            self.lost_transactions.add(worker_exit, batch)

    def _settle_batch(
        self, conn: Connection, worker_exit: WorkerExit, batch: UnsettledBatch
    ) -> None:
        """Settle a lease. If it is gone, the worker had settled it just before it exited."""
        found = settlements(worker_exit, batch, leases.counts(conn, batch.token))
        if leases.settle(conn, batch.token, found):
            self.report_crashes(crash_reports(worker_exit, batch, found))
