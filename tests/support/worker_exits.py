"""Worker exits as the supervisor would report them."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from taskmaster import Consumer
from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.lost_transactions import LostTransactions
from taskmaster.processes.supervisor.exits.settlements import PendingSettlements
from taskmaster.processes.supervisor.exits.worker_exit import Crashed, Reason, WorkerExit
from taskmaster.store.connection import Connection
from tests.support.store import SCHEMA

SIGKILLED = Crashed("signal SIGKILL")


def batch_of_one(
    job_id: int, *, token: UUID | None = None, entries: Sequence[dict[str, Any]] = ()
) -> UnsettledBatch:
    """Return a batch whose only job was running. Without a token it is a transaction."""
    return UnsettledBatch(
        token=token or UUID(int=0),
        ended=[],
        entries=entries,
        current=job_id,
        started_ns=time.monotonic_ns(),
        unstarted=[],
    )


def exit_of(
    consumer: Consumer, batch: UnsettledBatch, *, worker: str = "w", reason: Reason = SIGKILLED
) -> WorkerExit:
    """Return the exit of a worker with this batch."""
    return WorkerExit(
        consumer=consumer,
        worker=worker,
        pid=0,
        reason=reason,
        batch=batch,
        exited_ns=time.monotonic_ns(),
    )


def pending_settlements(
    conn: Connection, supervisor_id: int, crashes: list[CrashReport] | None = None
) -> PendingSettlements:
    """Return the outbox of a registered supervisor. Crash reports are added to `crashes`."""
    session = DatabaseSession(Database("", SCHEMA), supervisor_id=supervisor_id, connection=conn)
    report = ([] if crashes is None else crashes).extend
    return PendingSettlements(session, LostTransactions(session, report), report)


def flush(outbox: PendingSettlements, conn: Connection) -> None:
    """Write what can be written now, lost transactions too. Raises psycopg.Error."""
    for pending in (outbox.pending, outbox.lost_transactions.pending):
        try:
            for piece in pending.pieces:
                piece.try_once(conn)
        finally:
            pending.pieces = [piece for piece in pending.pieces if not piece.is_done]


def has_pending(outbox: PendingSettlements) -> bool:
    """Return whether something is not written yet, lost transactions too."""
    return bool(outbox.pending.pieces or outbox.lost_transactions.pending.pieces)
