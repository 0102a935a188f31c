"""The worker's loop: claim and run jobs, and wait when there are none.

It runs one job at a time, without threads.
"""

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Protocol

import psycopg
from psycopg.pq import TransactionStatus

from taskmaster.backoff import Backoff
from taskmaster.processes.ipc.scoreboard import Phase, Scoreboard, ScoreboardRow
from taskmaster.processes.ipc.wakeups import WakeupReader
from taskmaster.processes.system.fd_identity import Identity, identity
from taskmaster.processes.worker.guard import Guard
from taskmaster.processes.worker.recycling import Recycling
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.faults import DATABASE_ERRORS, Fault, describe_fault, fault_of

log = logging.getLogger("taskmaster.worker")

# A worker that has just become idle looks again several times: a producer may have read that no
# worker is idle, sent no notification and committed later.
LOOKS_SECONDS = (0.003, 0.010, 0.030, 0.100, 0.300)
UNSURE_SECONDS = 1.0
# After that it waits for wakeups: the supervisor sends one to an idle worker every second.
IDLE_SECONDS = 5.0
# Workers without a session must not be the load that keeps the database from recovering.
LONGEST_BACKOFF_SECONDS = 5.0
FEW_FAILURES = 4  # in a row, before the supervisor's /readyz shows them


def _new_backoff() -> Backoff:
    return Backoff(base_seconds=0.02, max_seconds=LONGEST_BACKOFF_SECONDS, jitter=0.5)


def _is_idle(conn: Connection) -> bool:
    return conn.info.transaction_status is TransactionStatus.IDLE


class Delivery(Protocol):
    """One way to claim, run and end jobs. There are two: leased.py and transactional.py."""

    @property
    def has_pending(self) -> bool:
        """Whether the end of a run is not written yet."""

    @property
    def is_unsure(self) -> bool:
        """Whether a claim may have succeeded although its result was lost. Then waits are short."""

    def connect(self) -> Connection: ...

    def on_connection_lost(self) -> None: ...

    def finish(self, conn: Connection) -> None:
        """Write what is pending."""

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Write what is pending, claim up to `at_most` jobs and run them.

        Return how many were started, or None if there were no jobs.
        """


@dataclass(slots=True, kw_only=True)
class WorkerLoop:
    """Runs one worker until it is asked to stop. `look` counts its looks since it became idle."""

    schema: str
    delivery: Delivery
    row: ScoreboardRow
    scoreboard: Scoreboard
    wakeups: WakeupReader
    recycling: Recycling
    notify_ms: int
    is_parked: bool = False
    is_leaving: bool = False
    connection: Connection | None = None
    socket_file: Identity | None = None
    backoff: Backoff = field(default_factory=_new_backoff)
    look: int = 0

    @property
    def is_stopping(self) -> bool:
        return self.is_leaving or self.row.is_stopping

    def stop(self) -> None:
        """Exit after the current job."""
        self.is_leaving = True

    def run(self, guard: Guard) -> None:
        """Run until asked to stop and nothing is pending."""
        guard.stop = self.stop
        guard.restore_all()
        os.register_at_fork(after_in_child=self._disown_connection)
        if self.is_parked:
            self._wait_until_unparked()
        self.row.phase = Phase.WORKING
        while self.delivery.has_pending or not self.is_stopping:
            try:
                self._step()
            except DATABASE_ERRORS as error:
                self._on_database_fault(error)
            guard.restore_all()
            damage = guard.damage()
            if damage is not None:
                log.warning("worker exits: %s", damage)
                self.stop()
                self._drop_foreign_socket()
        self.row.phase = Phase.EXITING
        if self.connection is not None:
            self.connection.close()

    def _wait_until_unparked(self) -> None:
        """Wait, as the canary of a new generation, until that generation takes over."""
        self.row.phase = Phase.IDLE
        while self.is_parked and not self.is_stopping:
            self.is_parked = not self.wakeups.get(IDLE_SECONDS)
        self.row.is_woken = False

    def _step(self) -> None:
        """Run jobs, or wait if there are none. When stopping, only write what is pending."""
        conn = self.connection or self._connect()
        if self.is_stopping:
            self.delivery.finish(conn)
            return
        started = self.delivery.step(conn, at_most=self.recycling.most_jobs())
        if self.backoff.failures:
            self.backoff.reset()
            self.row.has_database_fault = False
        self.row.count_claim(found=started is not None)
        if started is None:
            self._idle(conn)
            return
        self.look = 0
        if self.recycling.record(started):
            self.stop()

    # -- idle

    def _idle(self, conn: Connection) -> None:
        """Wait for a wakeup or for the next look."""
        self._ask_for_notifications(conn)
        self.row.phase = Phase.IDLE
        while not self.is_stopping and not self._wait_once():
            pass  # each wait is bounded, so a request to stop is seen
        self.row.phase = Phase.WORKING

    def _ask_for_notifications(self, conn: Connection) -> None:
        """Make puts notify for a while, unless they do so already."""
        now = time.monotonic_ns()
        if self.scoreboard.notified_until_ns < now + self.notify_ms * 1_000_000 // 3:
            supervisors.announce_idle(conn, self.schema, self.notify_ms)
            self.scoreboard.notified_until_ns = now + self.notify_ms * 1_000_000

    def _wait_once(self) -> bool:
        """Wait once. Return whether to look for jobs now."""
        is_looking = self.look < len(LOOKS_SECONDS)
        seconds = UNSURE_SECONDS if self.delivery.is_unsure else IDLE_SECONDS
        was_woken = self.wakeups.get(LOOKS_SECONDS[self.look] if is_looking else seconds)
        if was_woken:
            self.row.is_woken = False
        elif is_looking:
            self.look += 1
        return was_woken or is_looking or self.delivery.is_unsure

    # -- the connection

    def _connect(self) -> Connection:
        self.connection = self.delivery.connect()
        self.socket_file = identity(self.connection.fileno())
        self.row.backend = self.connection.info.backend_pid
        return self.connection

    def _drop_foreign_socket(self) -> None:
        """Drop the connection if another file has the number of its socket, and connect again."""
        conn = self.connection
        if conn is not None and not conn.closed and identity(conn.fileno()) != self.socket_file:
            error = psycopg.OperationalError("a callback has closed the connection's descriptor")
            self._on_database_fault(error)

    def _disown_connection(self) -> None:
        """Close the connection in a process that a callback forked.

        Otherwise its session could outlive this worker.
        """
        if self.connection is not None and not self.connection.closed:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the number stays taken: libpq will close it
            os.dup2(nowhere, self.connection.fileno(), inheritable=False)
            os.close(nowhere)

    def _on_database_fault(self, error: Exception) -> None:
        """Log the first fault of a series, and wait before trying again, longer each time.

        The supervisor wakes all workers once the database works again. A statement that only met a
        lock is tried again on the same connection.
        """
        conn = self.connection
        if conn is None or fault_of(error, conn) is not Fault.BUSY or not _is_idle(conn):
            self._drop_connection()
        if self.backoff.failures == 0:
            log.warning("database failed, retrying: %s", describe_fault(error, self.schema))
        seconds = self.backoff.record()
        self.row.has_database_fault = self.backoff.failures > FEW_FAILURES
        if self.wakeups.get(seconds):
            self.row.is_woken = False

    def _drop_connection(self) -> None:
        self.delivery.on_connection_lost()
        if self.connection is not None:
            self.connection.close()
            self.connection = None
