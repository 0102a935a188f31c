"""Deliveries `at_least_once` and `at_most_once`: claim a batch under a lease, run it, settle it in one statement."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from taskmaster.processes.shared.plan import Database
from taskmaster.processes.shared.scoreboard import LOST
from taskmaster.processes.worker import batch
from taskmaster.processes.worker.batch_size import BatchSize
from taskmaster.processes.worker.run import WorkerContext
from taskmaster.settlement import Settlement
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection, connect_worker
from taskmaster.store.cursor import Cursor

log = logging.getLogger("taskmaster.worker")

# After it has lost its connection, a worker gives back what it holds without knowing: a claim that was on its way then
# may commit for as long as Postgres lets a statement run, unless the server process that had it is gone.
UNACKNOWLEDGED_SECONDS = 65.0
UNACKNOWLEDGED_LOOK_SECONDS = 0.2


@dataclass(slots=True)
class Leased:
    """The claims of one worker. What could not be settled is kept until it is: the token makes that safe."""

    database: Database
    claimant: leases.Claimant
    context: WorkerContext
    unsettled: tuple[UUID, Sequence[Settlement]] | None = None
    sent: bool = False  # the settle, and its answer did not come
    cursor: Cursor = field(default_factory=Cursor)
    size: BatchSize = field(init=False)
    unacknowledged_until: float | None = None
    unacknowledged_at: float = 0.0
    backend: int = 0

    def __post_init__(self) -> None:
        wanted = self.context.consumer.batch
        fixed = None if wanted == "auto" else wanted
        self.size = BatchSize(fixed=1 if fixed is None and self.claimant.once else fixed)

    @property
    def pending(self) -> bool:
        return self.unsettled is not None

    def connect(self) -> Connection:
        name = f"taskmaster {self.claimant.worker}"
        conn = connect_worker(self.database.url, self.database.schema, name=name)
        self.cursor = Cursor()
        if self.unsure:  # what it was told to do before is not to be done any more
            transactions.terminate(
                conn, self.database.schema, self.backend, f"taskmaster {self.claimant.worker}"
            )
        self.backend = conn.info.backend_pid
        return conn

    @property
    def unsure(self) -> bool:
        """May it hold jobs without knowing?"""
        return self.unacknowledged_until is not None

    def lost(self) -> None:
        self.size.claim_failed()
        self.unacknowledged_until, self.unacknowledged_at = (
            time.monotonic() + UNACKNOWLEDGED_SECONDS,
            0.0,
        )

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Settle the last batch, claim up to `at_most` jobs and run them, to be settled by the next turn or `finish`;
        how many were started, None: there was nothing."""
        if self.unacknowledged_until is not None:
            self.finish(conn)
            self.release_unacknowledged(conn, until=self.unacknowledged_until)
        wanted = self.size.next()
        lease = self.claim(conn, batch=min(wanted, at_most or wanted))
        if lease is None:
            return None
        lease = self.alone(conn, lease)
        began = time.monotonic()
        result = batch.run(self.context, conn, lease)
        self.size.record(result.started, time.monotonic() - began)
        self.unsettled = lease.token, result.settlements
        return result.started

    def claim(self, conn: Connection, *, batch: int) -> leases.Lease | None:
        """Claim a batch. The last one is settled on the way when all of it acked, else before it."""
        if self.unsettled is None or self.unsettled[1]:
            self.finish(conn)
            return leases.claim(conn, self.claimant, self.cursor, batch=batch)
        token, sent_before = self.unsettled[0], self.sent
        self.sent = True
        settled, lease = leases.exchange(conn, token, self.claimant, self.cursor, batch=batch)
        self.finished(token, settled=settled, sent_before=sent_before)
        return lease

    def alone(self, conn: Connection, lease: leases.Lease) -> leases.Lease:
        """A job that has killed a worker before runs alone, so that no other is with it when it does so again."""
        suspect = next((job for job in lease.jobs if job.crashes), None)
        if suspect is None or len(lease.jobs) == 1:
            return lease
        leases.release(conn, lease.token, [job.id for job in lease.jobs if job is not suspect])
        self.size.claim_failed()  # there may be more of them: claim few for a while, rather than give many back
        return leases.Lease(lease.token, [suspect])

    def finish(self, conn: Connection) -> None:
        """Settle what is unsettled, in one statement."""
        if self.unsettled is None:
            return
        token, settlements = self.unsettled
        sent_before, self.sent = self.sent, True
        self.finished(
            token, settled=leases.settle(conn, token, settlements), sent_before=sent_before
        )

    def finished(self, token: UUID, *, settled: bool, sent_before: bool) -> None:
        if not settled:
            self.missed(token, sent_before=sent_before)
        self.unsettled, self.sent = None, False
        self.context.row.finish()

    def missed(self, token: UUID, *, sent_before: bool) -> None:
        """There is no such lease. When it was sent before, and its answer lost, that may have settled it."""
        if sent_before:
            log.info(
                "lease %s is gone: it was settled before the connection was lost, or others have it",
                token,
            )
            return
        self.context.row.cells[LOST] += 1
        log.warning(
            "lease %s was lost, others have taken over its jobs: outcomes were not written", token
        )

    def release_unacknowledged(self, conn: Connection, *, until: float) -> None:
        """After a lost connection: a claim may have been committed, then or a little later, whose answer was lost."""
        now = time.monotonic()
        is_over = now >= until
        if now < self.unacknowledged_at and not is_over:
            return
        self.unacknowledged_at = now + UNACKNOWLEDGED_LOOK_SECONDS
        leases.release_unacknowledged(conn, self.claimant.supervisor, self.claimant.worker)
        if is_over:
            self.unacknowledged_until = None
