"""The supervisor's own connection, on which the database services run their statements."""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from taskmaster.backoff import Backoff
from taskmaster.errors import DatabaseRefused, InvalidConfig, SchemaMismatch
from taskmaster.failure import HOST
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.troubles import Troubles
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import migrate, supervisors
from taskmaster.store.bounded import BoundedConnection
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import (
    DATABASE_ERRORS,
    Fault,
    describe_fault,
    fault_of,
    is_read_only,
    is_unreachable,
    one_line,
)

log = logging.getLogger("taskmaster.supervisor")

STATEMENT_SECONDS = 10.0
FAILOVER_SECONDS = 120.0
LOCKED_SECONDS = 0.1  # before a row that another transaction has locked is tried again
CONNECTION = "the connection"
Work = Callable[[Connection], object]


@dataclass(slots=True)
class DatabaseSession(BaseService):
    """Keeps one connection open, and the supervisor registered under `supervisor_id`.

    The functions in `on_connect` are called after each new connection. Connections are of `kind`.
    Unless it migrates, a schema that is missing or of another version is refused.
    """

    database: Database
    kind: type[BoundedConnection] = BoundedConnection
    migrates: bool = True
    on_connect: list[Callable[[], None]] = field(default_factory=list)
    supervisor_id: int | None = None
    connection: Connection | None = None
    has_been_open: bool = False
    reopened_at: float = -math.inf
    connect_at: float = 0.0
    blocked_step: float | None = None  # the time of the step in which a lock was waited for
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))
    troubles: Troubles = field(default_factory=Troubles)

    @property
    def is_open(self) -> bool:
        return self.connection is not None

    @property
    def may_have_failed_over(self) -> bool:
        """Whether the session was opened again lately: what it finds may be of an earlier time."""
        return time.monotonic() < self.reopened_at + FAILOVER_SECONDS

    @property
    def schema(self) -> str:
        return self.database.schema

    @property
    def registered_id(self) -> int:
        """The supervisor's id. There is one whenever the session is open."""
        assert self.supervisor_id is not None
        return self.supervisor_id

    # -- the service

    def run_due(self, now: float) -> None:
        """Connect if there is no connection.

        Raises SchemaMismatch, InvalidConfig and DatabaseRefused if the database refuses the first
        session for a reason that only a person can change. Later it is tried again.
        """
        if self.connection is None and now >= self.connect_at:
            try:
                self._connect()
            except DATABASE_ERRORS as error:
                if self.supervisor_id is None and not self.has_been_open:
                    _raise_if_refused(error, self.schema)
                self._on_failure(error)

    def next_due(self) -> float:
        return self.connect_at if self.connection is None else math.inf

    def close(self) -> None:
        """Delete this supervisor's row, and close the connection."""
        if self.supervisor_id is not None:
            supervisor_id = self.supervisor_id
            self.run_last(lambda conn: supervisors.retire(conn, supervisor_id))
        self._disconnect()

    # -- for the other services

    def run(self, work: Work, now: float, *, subject: str) -> float | None:
        """Run `work`, named `subject`. Return None, or when it must be tried again.

        Only a lost connection is closed. The session stays open if the work is blocked or refused,
        because the lock that it holds shows that this supervisor is alive, and because other work
        may succeed. A step of the loop waits for one lock at most, so that a heartbeat is never far
        away. After a lost connection the time is infinite: a new one starts the work again.
        """
        if self.connection is None:
            return math.inf
        if now == self.blocked_step:
            return now
        started_at = time.monotonic()
        try:
            work(self.connection)
        except DATABASE_ERRORS as error:
            seconds = self._wait_after(error, now, subject)
            return now + time.monotonic() - started_at + seconds
        if self.backoff.failures:
            log.info("database works again")
            self.backoff.reset()
        self.troubles.end(subject)
        return None

    def _wait_after(self, error: Exception, now: float, subject: str) -> float:
        """Return how many seconds to wait before the work is tried again."""
        fault = fault_of(error, self.connection)
        if fault is Fault.LOST:
            self._on_failure(error)
            return math.inf
        if fault is Fault.BUSY:
            self.troubles.record_lock(subject, one_line(error))
            self.blocked_step = now
            return LOCKED_SECONDS
        return self.troubles.record(subject, describe_fault(error, self.schema))

    def run_last(self, work: Work) -> bool:
        """Run `work` while the supervisor stops. Return whether it was done.

        If it fails, the next supervisor cleans up.
        """
        if self.connection is None:
            return False
        try:
            work(self.connection)
        except DATABASE_ERRORS as error:
            sentence = describe_fault(error, self.schema)
            log.warning("database failed during the stop, leases are rescued later: %s", sentence)
            if fault_of(error, self.connection) is Fault.LOST:
                self._disconnect()
            return False
        return True

    def unregister(self) -> None:
        """Drop this supervisor's id, which was deleted by another, and register again later."""
        self._disconnect()
        self.supervisor_id = None

    # -- connecting

    def _connect(self) -> None:
        """Connect. The first time and after an eviction, register too."""
        name = f"{HOST}:{os.getpid()}"
        conn = connect(
            self.database.url,
            self.database.schema,
            name=f"taskmaster supervisor {name}",
            statement_seconds=STATEMENT_SECONDS,
            kind=self.kind,
        )
        try:
            self._register(conn, name)
        except BaseException:
            conn.close()
            raise
        if self.has_been_open:
            self.reopened_at = time.monotonic()
        self.connection, self.has_been_open = conn, True
        self.troubles.end(CONNECTION)
        for notify in self.on_connect:
            notify()

    def _register(self, conn: Connection, name: str) -> None:
        if self.supervisor_id is None:
            if self.migrates:
                _migrate(conn, self.schema)
            else:
                migrate.check(conn, self.schema)
            self.supervisor_id = supervisors.register(conn, name)
        supervisors.watch_session(conn)

    def _on_failure(self, error: Exception) -> None:
        """Log the first failure of a series, and each new refusal. Connect again after a while.

        The wait begins now, and not when the step began: a database that does not respond keeps the
        loop waiting, and between two attempts it must do its other work.
        """
        if fault_of(error) is Fault.REFUSED:
            self.troubles.record(CONNECTION, describe_fault(error, self.schema))
        elif self.backoff.failures == 0:
            problem = "unreachable" if is_unreachable(error) else "failed"
            log.warning("database %s, retrying: %s", problem, describe_fault(error, self.schema))
        self._disconnect()
        self.connect_at = time.monotonic() + self.backoff.record()

    def _disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _migrate(conn: Connection, schema: str) -> None:
    for migration in migrate.migrate(conn, schema):
        log.info("migration applied: %s", migration)


def _raise_if_refused(error: Exception, schema: str) -> None:
    """Raise the error as a sentence if only a person can change its reason."""
    if isinstance(error, psycopg.Error) and is_read_only(error):
        raise DatabaseRefused(describe_fault(error, schema)) from None
    if fault_of(error) not in (Fault.REFUSED, Fault.JOB):
        return
    if isinstance(error, InvalidConfig | SchemaMismatch):
        raise error
    raise DatabaseRefused(describe_fault(error, schema)) from None
