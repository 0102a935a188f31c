"""The pending settlements: batches of workers that exited, and jobs to release.

A service of the supervisor. What cannot be written now is kept until the database responds.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.database.session import LOCKED_SECONDS, DatabaseSession
from taskmaster.processes.supervisor.exits.policy import crash_reports, settlements
from taskmaster.processes.supervisor.exits.worker_exit import WorkerExit
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.settlement import Settlement
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.supervisor")

MOST_TRIES = 10_000  # over more than a quarter of an hour
WAIT_MS = 20  # for the server process of an exited worker to release its lock
# A claim may commit after its worker exited, for as long as Postgres lets a statement run.
LATE_CLAIMS_SECONDS = 65.0


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
class PendingSettlements(BaseService):
    """The outbox of the pool. It settles batches in the order of the exits.

    `report_crashes` is called with the runs that were charged a crash. `fresh`: an exit arrived
    after the last attempt, so try now instead of waiting for the retry interval.
    """

    session: DatabaseSession
    report_crashes: Callable[[Sequence[CrashReport]], None]
    worker_names: Callable[[], Sequence[str]] = list
    releases: deque[tuple[UUID, Sequence[int]]] = field(default_factory=deque)
    exits: deque[WorkerExit] = field(default_factory=deque)
    lost_transactions: deque[LostTransaction] = field(default_factory=deque)
    fresh: bool = False
    retry_at: float = 0.0
    late_claims_until: float = 0.0
    has_beaten: bool = False

    # -- the outbox

    def settle(self, worker_exit: WorkerExit) -> None:
        """Settle the batch of a worker that exited, as soon as the database responds."""
        self.exits.append(worker_exit)
        self.fresh = True

    def release(self, token: UUID, ids: Sequence[int]) -> None:
        """Release jobs that their worker will not start, as soon as the database responds."""
        self.releases.append((token, ids))

    # -- the service

    @property
    def has_pending(self) -> bool:
        """Whether exits or lost transactions are not written yet."""
        return bool(self.exits or self.lost_transactions)

    def run_due(self, now: float) -> None:
        """Write what can be written now."""
        if self.releases or (self.has_pending and (self.fresh or now >= self.retry_at)):
            self._try_flush(now)
        if self.has_beaten and not self.exits:
            self._release_late_claims(now)

    def next_due(self) -> float:
        if not self.session.is_open or not (self.has_pending or self.releases):
            return math.inf
        return self.session.unblocked_at if self.fresh or self.releases else self.retry_at

    def close(self) -> None:
        """Write the rest if the database still responds. Later supervisors release what is left."""
        if not self.session.is_open:
            return
        self.session.run_last(self.flush)
        self.session.run_last(self._release_all_late_claims)

    def on_heartbeat(self) -> None:
        """Look for late claims of exited workers in the next `run_due`, after the heartbeat."""
        self.has_beaten = True

    # -- writing

    def _try_flush(self, now: float) -> None:
        if self.exits:
            self.late_claims_until = now + LATE_CLAIMS_SECONDS
        was_written = self.session.run_patiently(self.flush, now)
        self.fresh = False
        # If so, the database is gone, or another session holds a lock on a job.
        if self.has_pending or not was_written:
            self.retry_at = now + LOCKED_SECONDS

    def flush(self, conn: Connection) -> None:
        """Write what can be written now, in the order in which it happened.

        Raises psycopg.Error. What was not written is kept.
        """
        while self.releases:
            leases.release(conn, *self.releases[0])
            self.releases.popleft()
        while self.exits:
            self._settle_exit(conn, self.exits[0])
            self.exits.popleft()
        for _ in range(len(self.lost_transactions)):
            lost = self.lost_transactions[0]
            if not self._try_charge(conn, lost):
                self.lost_transactions.append(lost)
            self.lost_transactions.popleft()

    def _settle_exit(self, conn: Connection, worker_exit: WorkerExit) -> None:
        batch, consumer = worker_exit.batch, worker_exit.consumer
        if batch is not None and consumer.is_transactional:
            name = f"taskmaster {worker_exit.worker}"
            transactions.terminate(conn, self.session.schema, worker_exit.backend, name)
        elif batch is not None:
            self._settle_batch(conn, worker_exit, batch)
        leases.release_unacknowledged(conn, self.session.registered_id, worker_exit.worker)
        if batch is not None and consumer.is_transactional:
            self.lost_transactions.append(LostTransaction(worker_exit, batch))

    def _settle_batch(
        self, conn: Connection, worker_exit: WorkerExit, batch: UnsettledBatch
    ) -> None:
        """Settle a lease. If it is gone, the worker had settled it just before it exited."""
        found = settlements(worker_exit, batch, leases.counts(conn, batch.token))
        if leases.settle(conn, batch.token, found):
            self.report_crashes(crash_reports(worker_exit, batch, found))

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

    # -- late claims

    def _release_late_claims(self, now: float) -> None:
        self.has_beaten = False
        if now < self.late_claims_until:
            self.session.run_patiently(self._release_all_late_claims, now)

    def _release_all_late_claims(self, conn: Connection) -> None:
        """Release what exited workers claimed just before they exited."""
        leases.release_orphans(conn, self.session.registered_id, self.worker_names())
