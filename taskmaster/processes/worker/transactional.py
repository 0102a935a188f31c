"""Delivery `transactional`: one job at a time is claimed, run and ended in one transaction.

This runs in the worker. The callback writes in the same transaction. The job's row stays locked
until the end: if any of the processes is killed, Postgres drops the lock, and the job is ready
again. If the run fails, a savepoint undoes the callback's writes and keeps the lock, so the failure
is written in the same commit.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from taskmaster.failure import Used, describe, make_failure
from taskmaster.job import Retry
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.system.fd_identity import Identity, identity
from taskmaster.processes.worker import batch
from taskmaster.processes.worker.charges import Charge, Charges
from taskmaster.processes.worker.context import WorkerContext
from taskmaster.processes.worker.run import run_one
from taskmaster.settlement import Run, Settlement, for_outcome, to_entry
from taskmaster.store import transactions
from taskmaster.store.bounded import without_bound
from taskmaster.store.connection import Connection, connect_user, reset_session
from taskmaster.store.cursor import Cursor, Place
from taskmaster.store.faults import is_of_job
from taskmaster.store.spoiled_claims import claim_apart

NO_TOKEN = UUID(int=0)
CANCEL_SECONDS = 1.0


@dataclass(slots=True)
class Transactional:
    """The transactions of one worker.

    `unwritten` is the end of a run that could not be written in its own transaction, or that may
    not have been written, `run` the number of that run, and `place` that of its job.
    """

    database: Database
    worker: str
    context: WorkerContext
    unwritten: Settlement | None = None
    run: int = 0
    place: Place = (0, 0)
    charges: Charges = field(init=False)
    cursor: Cursor = field(default_factory=Cursor)
    socket_file: Identity | None = None

    def __post_init__(self) -> None:
        self.charges = Charges(self.database.schema)

    @property
    def has_pending(self) -> bool:
        return self.unwritten is not None

    @property
    def is_unsure(self) -> bool:
        """Always False, because a lost transaction is undone."""
        return False

    def connect(self) -> Connection:
        """Open a connection for the callbacks. Raises DatabaseUnreachable and psycopg.Error."""
        url, schema = self.database.url, self.database.schema
        conn = connect_user(url, schema, name=f"taskmaster {self.worker}")
        self.cursor, self.socket_file = Cursor(), identity(conn.fileno())
        self.charges.skip_in(self.cursor)
        job_context = self.context.job_context
        job_context.user_connection, job_context.was_connection_used = conn, False
        return conn

    def on_connection_lost(self) -> None:
        """Do nothing: once the server notices, the lock is gone and the job is ready again."""

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Claim, run and end one job. Return 1, or None if there was no job."""
        if self.unwritten is not None:
            self.finish(conn)
            return 0
        self._reset_used_session(conn)
        self.charges.write_due(conn, self.cursor)
        locked: transactions.LockedJob | None = None
        is_written = False
        try:
            with conn.transaction():
                locked = self._claim(conn)
                if locked is None:
                    return None
                self.unwritten = self._run(conn, locked)
                transactions.end(conn, self.database.schema, locked, self.unwritten)
                is_written = True
        except (psycopg.Error, psycopg.Rollback) as error:
            if locked is None:
                return self._skip_spoiled(conn, error)
            self._on_failed_transaction(conn, locked, error)
            is_written = False
        if is_written:  # otherwise `finish` writes the end of the run
            self.unwritten = None
            self.context.row.batch.finish()
        return 1

    def finish(self, conn: Connection) -> None:
        """Charge the run whose transaction was lost, once no other session holds its job."""
        if self.unwritten is not None:
            charge = Charge(self.unwritten, self.run, self.place)
            if not self.charges.write(conn, self.cursor, charge):
                return
        self.unwritten = None
        self.context.row.batch.finish()

    def _skip_spoiled(self, conn: Connection, error: Exception) -> int:
        """Skip jobs that cannot be claimed. Return 0. Raises the error if no job is to blame."""
        if not isinstance(error, psycopg.Error) or not is_of_job(error, conn):
            raise error

        def try_one() -> None:
            with conn.transaction():
                transactions.claim_one(conn, schema, queue_name, self.cursor)

        schema, queue_name = self.database.schema, self.context.consumer.queue_name
        claim_apart(conn, schema, queue_name, self.cursor, try_one)
        return 0

    def _reset_used_session(self, conn: Connection) -> None:
        """Reset the session if a callback has used it.

        An unused session is not reset, because a reset costs a third of a millisecond.
        """
        if self.context.job_context.was_connection_used:
            reset_session(conn)
            self.context.job_context.was_connection_used = False

    def _claim(self, conn: Connection) -> transactions.LockedJob | None:
        """Lock a job and enter it in the row, as a batch of its own.

        Return None if there is no job to start.
        """
        queue_name = self.context.consumer.queue_name
        locked = transactions.claim_one(conn, self.database.schema, queue_name, self.cursor)
        if locked is None:
            return None
        self.run, self.place = locked.job.run_count, (locked.job.priority, locked.position)
        record = self.context.row.batch
        record.begin(NO_TOKEN, [locked.job.id])
        self.context.allow_starts(1)
        if not permits.take(self.context.permits_fd):
            record.finish()
            return None
        return locked

    def _run(self, conn: Connection, locked: transactions.LockedJob) -> Settlement | None:
        """Run the callback behind a savepoint. Its writes stay only if it acks."""
        record = self.context.row.batch
        batch.note_baseline(self.context)
        record.start_job(1)
        with conn.transaction():
            with without_bound(conn):  # the callback's own statements may take any time
                settlement = run_one(self.context, locked.job)
            if not conn.closed and identity(conn.fileno()) != self.socket_file:
                conn.close()  # a callback closed the socket, and another file has its number
            settlement = settlement or self._impossible_ack(conn, locked)
            if settlement is not None:
                record.write_entry(to_entry(settlement))
                self.unwritten = settlement  # until the transaction has committed it
            record.end_job(1)
            if settlement is not None:
                raise psycopg.Rollback
        return settlement

    def _on_failed_transaction(
        self, conn: Connection, locked: transactions.LockedJob, error: Exception
    ) -> None:
        """Keep the end of the run, which `finish` writes.

        Raises OperationalError if the connection is unusable.
        """
        self.unwritten = self.unwritten or self._commit_failure(conn, locked, error)
        # The connection is lost, or still in a query or transaction.
        if conn.info.transaction_status is not TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                conn.cancel_safe(timeout=CANCEL_SECONDS)
            raise psycopg.OperationalError("a transaction's connection was lost") from error

    def _impossible_ack(
        self, conn: Connection, locked: transactions.LockedJob
    ) -> Settlement | None:
        """Return a failure if the ack cannot be written.

        Then the connection was lost, or the callback ignored an error or ended the transaction.
        """
        if conn.closed:
            message = "the connection of its transaction was lost while it ran"
            return self._failure(locked, message, cause="lost database")
        match conn.info.transaction_status:
            case TransactionStatus.INERROR:
                message = "the callback acked after a database error, which undoes its writes"
                return self._failure(locked, message)
            case TransactionStatus.IDLE:
                message = "the callback ended the transaction, which only taskmaster may do"
                return self._failure(locked, message)
            case _:
                return None

    def _commit_failure(
        self, conn: Connection, locked: transactions.LockedJob, error: Exception
    ) -> Settlement | None:
        """Return a failure: the commit was refused, or the connection broke before its reply.

        If it was committed after all, the job is no longer in ready, and nothing is charged. So a
        run whose connection is lost each time is charged each time, and ends.
        """
        if conn.closed:
            message = f"its transaction was lost with its connection: {describe(error)}"
            return self._failure(locked, message, cause="lost database")
        return self._failure(locked, f"its transaction was not committed: {describe(error)}")

    def _failure(
        self, locked: transactions.LockedJob, message: str, *, cause: str = "exception"
    ) -> Settlement | None:
        run = locked.job.run_count
        record = make_failure(
            cause, message, run=run, worker=self.worker, duration_seconds=0.0, used=Used(0.0, 0.0)
        )
        failed_run = Run(locked.job.id, run, locked.job.crashes)
        return for_outcome(failed_run, Retry(), self.context.consumer, record)
