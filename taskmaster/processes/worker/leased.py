"""Deliveries `at_least_once` and `at_most_once`: claim a batch under a lease, run it, settle it.

This runs in the worker. One statement settles a whole batch.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import psycopg

from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.worker import batch
from taskmaster.processes.worker.batch_size import BatchSize
from taskmaster.processes.worker.context import WorkerContext
from taskmaster.settlement import Settlement
from taskmaster.store import leases, transactions
from taskmaster.store.connection import Connection, connect_worker
from taskmaster.store.cursor import Cursor
from taskmaster.store.faults import is_of_job, one_line
from taskmaster.store.spoiled_claims import claim_apart

log = logging.getLogger("taskmaster.worker")

# After a lost connection, a worker releases claims whose result it never received. Such a claim may
# still commit for as long as Postgres lets a statement run, unless its server process is gone.
UNACKNOWLEDGED_SECONDS = 65.0
UNACKNOWLEDGED_LOOK_SECONDS = 0.2
SET_ASIDE_SECONDS = 5.0
MOST_RECENT = 10_000


@dataclass(slots=True)
class Leased:
    """The claims of one worker.

    `unsettled` is the last batch, kept until it is settled: a repeated settle is safe, because the
    token fences it. `was_sent`: the settle was sent before, and its result did not arrive.
    `set_aside` are jobs whose outcome cannot be written. They stay in their lease, and are tried
    again. `recent` are the tokens of its last batches, of jobs that must never run twice.
    """

    database: Database
    claimant: leases.Claimant
    context: WorkerContext
    unsettled: tuple[UUID, Sequence[Settlement]] | None = None
    was_sent: bool = False
    cursor: Cursor = field(default_factory=Cursor)
    size: BatchSize = field(init=False)
    recent: deque[UUID] = field(default_factory=lambda: deque(maxlen=MOST_RECENT))
    set_aside: list[tuple[UUID, Sequence[Settlement]]] = field(default_factory=list)
    set_aside_until: float = 0.0
    unacknowledged_until: float | None = None
    unacknowledged_at: float = 0.0
    backend: int = 0

    def __post_init__(self) -> None:
        wanted = self.context.consumer.batch
        fixed = None if wanted == "auto" else wanted
        self.size = BatchSize(fixed=1 if fixed is None and self.claimant.once else fixed)

    @property
    def has_pending(self) -> bool:
        return self.unsettled is not None

    @property
    def is_unsure(self) -> bool:
        return self.unacknowledged_until is not None

    def connect(self) -> Connection:
        """Open a connection. Raises DatabaseUnreachable and psycopg.Error."""
        schema, name = self.database.schema, f"taskmaster {self.claimant.worker}"
        conn = connect_worker(self.database.url, schema, name=name)
        self.cursor = Cursor()
        if self.is_unsure:  # the lost server process must not finish its last statement
            transactions.terminate(conn, schema, self.backend, name)
        self.backend = conn.info.backend_pid
        return conn

    def on_connection_lost(self) -> None:
        self.size.restart()
        self.unacknowledged_until = time.monotonic() + UNACKNOWLEDGED_SECONDS
        self.unacknowledged_at = 0.0

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Settle the last batch, claim up to `at_most` jobs and run them.

        The next step or `finish` settles them. Return how many were started, or None if there were
        no jobs.
        """
        if self.set_aside and time.monotonic() >= self.set_aside_until:
            self._settle_set_aside(conn)
        if self.unacknowledged_until is not None:
            self.finish(conn)
            self.release_unacknowledged(conn, until=self.unacknowledged_until)
        wanted = self.size.next()
        lease = self._claim(conn, batch=min(wanted, at_most or wanted))
        if lease is None:
            return None
        lease = self._isolate_suspect(conn, lease)
        if self.claimant.once:
            self.recent.append(lease.token)
        started_at = time.monotonic()
        result = batch.run(self.context, conn, lease)
        self.size.record(result.started, time.monotonic() - started_at)
        self.unsettled = lease.token, result.settlements
        return result.started

    def finish(self, conn: Connection) -> None:
        """Settle the last batch, in one statement."""
        if self.unsettled is None:
            return
        token, settlements = self.unsettled
        was_sent, self.was_sent = self.was_sent, True
        result = leases.settle_in_any_form(conn, token, settlements)
        self._set_aside(token, result, settlements)
        self._on_settle(token, is_settled=result.settled, was_sent=was_sent)

    def _set_aside(
        self, token: UUID, result: leases.SettleResult, settlements: Sequence[Settlement]
    ) -> None:
        """Keep the settlements of jobs that stay in their lease, and try them again later."""
        if not result.spoiled and result.left is None:
            return
        for settlement, error in result.spoiled:
            log.error(
                "job set aside: job=%d, its outcome cannot be written, tried again in %g s: %s",
                settlement.id,
                SET_ASIDE_SECONDS,
                one_line(error),
            )
        if result.left is not None:
            log.error(
                "lease set aside: token=%s cannot be deleted, tried again in %g s: %s",
                token,
                SET_ASIDE_SECONDS,
                one_line(result.left),
            )
        spoiled = {settlement.id for settlement, _ in result.spoiled}
        kept = [settlement for settlement in settlements if settlement.id in spoiled]
        self.set_aside.append((token, kept))
        self.set_aside_until = time.monotonic() + SET_ASIDE_SECONDS

    def _settle_set_aside(self, conn: Connection) -> None:
        """Try again to settle what was set aside."""
        for token, settlements in list(self.set_aside):
            result = leases.settle_in_any_form(conn, token, settlements)
            self.set_aside.remove((token, settlements))
            self._set_aside(token, result, settlements)

    def release_unacknowledged(self, conn: Connection, *, until: float) -> None:
        """Release what was claimed by a statement whose result was lost.

        It may have been committed before the connection was lost, or a little later.
        """
        now = time.monotonic()
        is_over = now >= until
        if now < self.unacknowledged_at and not is_over:
            return
        self.unacknowledged_at = now + UNACKNOWLEDGED_LOOK_SECONDS
        if is_over:
            self.unacknowledged_until = None
        if self.claimant.once:
            self._reject_what_has_run(conn)
        leases.release_unacknowledged(conn, self.claimant.supervisor, self.claimant.worker)

    def _reject_what_has_run(self, conn: Connection) -> None:
        """Reject jobs that ran before a failover which has brought their lease back."""
        for token in leases.tokens_of(conn, self.claimant.supervisor, self.claimant.worker):
            if token in self.recent:
                leases.reject_lease(conn, token, worker=self.claimant.worker)

    def _claim(self, conn: Connection, *, batch: int) -> leases.Lease | None:
        """Claim a batch. If one of its jobs cannot be claimed, claim another by itself."""
        try:
            return self._exchange(conn, batch=batch)
        except psycopg.Error as error:
            if not is_of_job(error, conn):
                raise
        self.finish(conn)
        self.size.restart()
        claim_one = partial(leases.claim, conn, self.claimant, self.cursor, batch=1)
        schema, queue_name = self.database.schema, self.claimant.queue_name
        return claim_apart(conn, schema, queue_name, self.cursor, claim_one)

    def _exchange(self, conn: Connection, *, batch: int) -> leases.Lease | None:
        """Claim a batch. The same statement settles the last one if all of it acked."""
        if self.unsettled is None or self.unsettled[1]:
            self.finish(conn)
            return leases.claim(conn, self.claimant, self.cursor, batch=batch)
        token, was_sent = self.unsettled[0], self.was_sent
        self.was_sent = True
        is_settled, lease = leases.exchange(conn, token, self.claimant, self.cursor, batch=batch)
        self._on_settle(token, is_settled=is_settled, was_sent=was_sent)
        return lease

    def _isolate_suspect(self, conn: Connection, lease: leases.Lease) -> leases.Lease:
        """Let a job that has crashed a worker before run alone, so that it affects no other job."""
        suspect = next((job for job in lease.jobs if job.crashes), None)
        if suspect is None or len(lease.jobs) == 1:
            return lease
        others = [job.id for job in lease.jobs if job is not suspect]
        leases.release(conn, lease.token, others)
        self.size.restart()  # there may be more suspects, so claim few jobs for a while
        return leases.Lease(lease.token, [suspect])

    def _on_settle(self, token: UUID, *, is_settled: bool, was_sent: bool) -> None:
        """Forget the batch, and report a lease that did not exist.

        If the settle was sent before, it may have ended the lease itself.
        """
        if not is_settled and was_sent:
            log.info(
                "lease gone: token=%s, settled before the connection was lost or rescued", token
            )
        elif not is_settled:
            self.context.row.count_lost_lease()
            log.warning(
                "lease lost: token=%s, rescued by another supervisor, outcomes not written", token
            )
        self.unsettled, self.was_sent = None, False
        self.context.row.batch.finish()
