"""Delivery `transactional`: one job at a time is held, run and ended in one transaction, which is the callback's too.

Its row is only locked until the end: whoever dies, Postgres gives the job back with the lock. A savepoint around the
callback takes back what it wrote when its run fails, and the lock stays, so the failure is written in the same commit.
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from taskmaster.job import Retry
from taskmaster.processes.shared import permits
from taskmaster.processes.shared.failures import Used, describe, failure
from taskmaster.processes.shared.fd_identity import Identity, identity
from taskmaster.processes.shared.plan import Database
from taskmaster.processes.shared.scoreboard import ENDED, STARTED, STARTED_AT
from taskmaster.processes.worker import batch
from taskmaster.processes.worker.run import WorkerContext, run_one
from taskmaster.settlement import Run, Settlement, ended
from taskmaster.store import transactions
from taskmaster.store.connection import Connection, connect_user, reset_session
from taskmaster.store.cursor import Cursor

NO_TOKEN = UUID(int=0)
CANCEL_SECONDS = 1.0
CHARGE_WAIT_MS = 1_000  # at a time, so that a worker that is told to leave sees it


@dataclass(slots=True)
class Transactional:
    """One worker's transactions. `owed`: a failed run that could not be written in its own transaction."""

    database: Database
    worker: str
    context: WorkerContext
    unwritten: Settlement | None = None
    cursor: Cursor = field(default_factory=Cursor)
    socket: Identity | None = None

    @property
    def pending(self) -> bool:
        return self.unwritten is not None

    @property
    def unsure(self) -> bool:
        """A transaction that was lost is undone."""
        return False

    def connect(self) -> Connection:
        conn = connect_user(self.database.url, name=f"taskmaster {self.worker}")
        self.cursor, self.socket = Cursor(), identity(conn.fileno())
        self.context.job_context.user_connection, self.context.job_context.connection_used = (
            conn,
            False,
        )
        return conn

    def lost(self) -> None:
        """Once the server sees it, the lock is gone too, and the job is ready again."""

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Hold, run and end one job; 1, or None: there was nothing."""
        if self.unwritten is not None:
            self.finish(conn)
            return 0
        locked_job, written = None, False
        if self.context.job_context.connection_used:  # only then: it costs a third of a millisecond
            reset_session(conn)
            self.context.job_context.connection_used = False
        try:
            with conn.transaction():
                locked_job = transactions.claim_one(
                    conn, self.database.schema, self.context.consumer.queue_name, self.cursor
                )
                if locked_job is None or not self.begin(locked_job):
                    return None
                self.unwritten = self.run(conn, locked_job)
                transactions.end(conn, self.database.schema, locked_job, self.unwritten)
                written = True
        except (psycopg.Error, psycopg.Rollback) as error:
            if locked_job is None:
                raise
            self.unwritten = self.unwritten or self.not_committed(conn, locked_job, error)
            if (
                conn.info.transaction_status is not TransactionStatus.IDLE
            ):  # lost, in a query cut off, or left open
                with suppress(psycopg.Error):
                    conn.cancel_safe(timeout=CANCEL_SECONDS)
                raise psycopg.OperationalError("a transaction's connection was lost") from error
            written = False
        if (
            written
        ):  # else the transaction was ended or lost under it, and `finish` writes what is owed
            self.unwritten = None
            self.context.row.finish()
        return 1

    def begin(self, locked_job: transactions.LockedJob) -> bool:
        """Enter the job in the slot, as a batch of its own; False: it must not start any more."""
        row = self.context.row
        row.begin(NO_TOKEN, [locked_job.job.id])
        self.context.allow(1)
        if not permits.take(self.context.permits_fd):
            row.finish()
            return False
        return True

    def run(self, conn: Connection, locked_job: transactions.LockedJob) -> Settlement | None:
        """Run the callback behind a savepoint; what it wrote stays only when it acks."""
        cells = self.context.row.cells
        cells[STARTED_AT] = time.monotonic_ns()
        batch.note_beginning(self.context.row)
        cells[STARTED] = 1
        with conn.transaction():
            settlement = run_one(self.context, locked_job.job)
            if not conn.closed and identity(conn.fileno()) != self.socket:
                conn.close()  # a callback has closed its descriptor, and another file has the number
            settlement = settlement or self.broken(conn, locked_job)
            if settlement is not None:
                self.context.row.write(asdict(settlement))
                self.unwritten = settlement  # until the transaction has committed it
            cells[ENDED] = 1
            if settlement is not None:
                raise psycopg.Rollback
        return settlement

    def broken(self, conn: Connection, locked_job: transactions.LockedJob) -> Settlement | None:
        """An ack that cannot be had: the callback went past an error of the database's, or ended the transaction."""
        if conn.closed:
            return self.failed(
                locked_job,
                "the connection of its transaction was lost under it",
                cause="lost database",
            )
        match conn.info.transaction_status:
            case TransactionStatus.INERROR:
                return self.failed(
                    locked_job,
                    "the callback acked after an error of the database's, which undoes its writes",
                )
            case TransactionStatus.IDLE:
                return self.failed(
                    locked_job,
                    "the callback ended the transaction; commit and rollback are not its to do",
                )
            case _:
                return None

    def not_committed(
        self, conn: Connection, locked_job: transactions.LockedJob, error: Exception
    ) -> Settlement | None:
        """The run acked, and its commit was refused. When the connection broke, nobody knows: then nothing is said."""
        return (
            None
            if conn.closed
            else self.failed(locked_job, f"its transaction was not committed: {describe(error)}")
        )

    def failed(
        self, locked_job: transactions.LockedJob, message: str, *, cause: str = "exception"
    ) -> Settlement | None:
        run = locked_job.job.run_count
        record = failure(
            cause, message, run=run, worker=self.worker, duration_seconds=0.0, used=Used(0.0, 0.0)
        )
        return ended(
            Run(locked_job.job.id, run, locked_job.job.crashes),
            Retry(),
            self.context.consumer,
            record,
        )

    def finish(self, conn: Connection) -> None:
        """Charge the run whose transaction was lost, when whoever has taken the job meanwhile lets go of it."""
        if self.unwritten is not None and self.unwritten.failure is not None:
            run = self.unwritten.failure["run"]
            if transactions.charge_lost(
                conn, self.database.schema, self.unwritten, run=run, wait_ms=CHARGE_WAIT_MS
            ).locked:
                return
        self.unwritten = None
        self.context.row.finish()
