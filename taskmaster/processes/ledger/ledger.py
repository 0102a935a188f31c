"""The supervisor's dealings with the store. What cannot be written now is kept until the database answers."""

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from taskmaster.errors import DatabaseUnreachable
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ledger.failure_detector import FailureDetector
from taskmaster.processes.ledger.settlements import PendingSettlements
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.failures import HOST
from taskmaster.processes.shared.plan import Database
from taskmaster.store import jobs, leases, migrate, supervisors
from taskmaster.store.connection import Connection, connect

log = logging.getLogger("taskmaster.supervisor")

RESCUER_MAX_CRASHES = (
    3  # a rescuer may not have the consumer of a job that it rescues: the default stands
)
STATEMENT_SECONDS = 10.0
LOCKED_SECONDS = 0.1  # before a row that another transaction has locked is looked at again
# A claim may commit after the death of the worker that sent it, for as long as Postgres lets a statement run.
ORPHANS_SECONDS = 65.0
BLOCKED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
)

Releases = list[tuple[UUID, Sequence[int]]]


class Evicted(Exception):
    """Other supervisors took this one for dead and gave its leases back."""


@dataclass(slots=True)
class Ledger:
    """Heartbeat, burials, rescue and promotion, each when it is due. The heartbeat first: nothing may hold it up."""

    database: Database
    options: SupervisorOptions
    supervisor: int | None = None
    connection: Connection | None = None
    connect_at: float = 0.0
    heartbeat_at: float = 0.0
    promote_at: float | None = None
    rescue_at: float = 0.0
    catch_up_at: float = 0.0
    orphans_until: float = 0.0
    locked: bool = False
    rescued: int = 0
    releases: deque[tuple[UUID, Sequence[int]]] = field(default_factory=deque)
    pending_settlements: PendingSettlements = field(init=False)
    failure_detector: FailureDetector = field(init=False)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    def __post_init__(self) -> None:
        self.pending_settlements = PendingSettlements(self.database.schema)
        self.failure_detector = FailureDetector(
            self.options.heartbeat_seconds, self.options.gone_after_seconds
        )

    @property
    def open(self) -> bool:
        return self.connection is not None

    def run_due(
        self,
        now: float,
        report: Callable[[], supervisors.HeartbeatReport],
        worker_names: Callable[[], Sequence[str]],
    ) -> bool:
        """Do what is due; True when this was a heartbeat. Raises Evicted, and SchemaMismatch on connecting.

        `report` and `living` (workers) are asked with a heartbeat only.
        """
        if self.connection is None and now < self.connect_at:
            return False
        try:
            conn = self.connection or self.connected()
            beat = now >= self.heartbeat_at and self.heartbeat(conn, now, report())
            self.write(conn, now, worker_names() if beat else None)
        except (psycopg.Error, DatabaseUnreachable) as error:
            self.lost(error, now)
            return False
        if self.backoff.failures:
            log.info("the database is back")
            self.backoff.reset()
        return beat

    def next_due(self) -> float:
        if self.connection is None:
            return self.connect_at
        dues = [self.heartbeat_at]
        if self.promote_at is not None:
            dues.append(self.promote_at)
        if self.pending_settlements.has_pending:
            dues.append(0.0 if self.pending_settlements.fresh else self.catch_up_at)
        return min(dues)

    def write(self, conn: Connection, now: float, worker_names: Sequence[str] | None) -> None:
        """What may wait for a lock. Then the rest waits too, and the session stays: its own lock says that we live.

        `living`: after a heartbeat, the workers that live.
        """
        try:
            if self.pending_settlements.fresh or now >= self.catch_up_at:
                self.catch_up(conn, now)
            if worker_names is not None:
                self.look_after(conn, now, worker_names)
            self.promote(conn, now)
        except BLOCKED as error:
            log.warning("waiting for a lock that somebody holds: %s", error.diag.message_primary)
            self.catch_up_at, self.pending_settlements.fresh = now + LOCKED_SECONDS, False
            if self.promote_at is not None:
                self.promote_at = max(self.promote_at, now + LOCKED_SECONDS)

    def catch_up(self, conn: Connection, now: float) -> None:
        """Settle for the dead and give back what was taken back, in the order in which it happened."""
        while self.releases:
            leases.release(conn, *self.releases[0])
            self.releases.popleft()
        if self.pending_settlements.exits:
            self.orphans_until = now + ORPHANS_SECONDS
        assert self.supervisor is not None
        self.pending_settlements.flush(conn, self.supervisor)
        if self.pending_settlements.has_pending:  # somebody holds the job at this moment
            self.catch_up_at = now + LOCKED_SECONDS

    def heartbeat(self, conn: Connection, now: float, report: supervisors.HeartbeatReport) -> bool:
        assert self.supervisor is not None
        beat = supervisors.heartbeat(conn, self.supervisor, report._replace(locked=self.locked))
        if beat is None:
            conn.close()
            self.connection = self.supervisor = None
            raise Evicted
        self.locked = beat.locked
        self.heartbeat_at = now + self.options.heartbeat_seconds
        self.promote_at = None if beat.due_seconds is None else now + max(0.0, beat.due_seconds)
        self.failure_detector.listen(beat.others, now)
        return True

    def look_after(self, conn: Connection, now: float, worker_names: Sequence[str]) -> None:
        """After a heartbeat: give back what dead workers claimed with their last breath, and what others have left."""
        assert self.supervisor is not None
        if now < self.orphans_until and not self.pending_settlements.exits:
            leases.release_orphans(conn, self.supervisor, worker_names)
        silent = self.failure_detector.silent(now)
        if silent or now >= self.rescue_at:
            self.rescue_at = now + self.options.gone_after_seconds / 3
            rescued = supervisors.rescue(conn, silent, max_crashes=RESCUER_MAX_CRASHES)
            self.rescued += rescued
            if rescued:
                log.warning("rescued %d jobs of a supervisor that is gone", rescued)

    def promote(self, conn: Connection, now: float) -> None:
        """Make scheduled jobs ready at their time; all that are due, a thousand at a time."""
        if self.promote_at is None or now < self.promote_at:
            return
        moved, due_seconds = jobs.promote(conn)
        if moved == jobs.PROMOTE_AT_MOST:
            self.promote_at = now
        elif (
            due_seconds is not None
        ):  # due already: somebody else has it locked, and may yet let go of it
            self.promote_at = now + max(due_seconds, LOCKED_SECONDS)
        else:
            self.promote_at = None

    def schedule_changed(self, now: float) -> None:
        """Look at the schedule at once: something is due soon."""
        self.promote_at = now

    def connected(self) -> Connection:
        """Connect; the first time, or after an eviction, migrate and register too."""
        name = f"taskmaster supervisor {HOST}:{os.getpid()}"
        conn = connect(
            self.database.url, self.database.schema, name=name, statement_seconds=STATEMENT_SECONDS
        )
        self.connection = conn
        if self.supervisor is None:
            for migration in migrate.migrate(conn, self.database.schema):
                log.info("applied migration %s", migration)
            self.supervisor = supervisors.register(conn, f"{HOST}:{os.getpid()}")
        supervisors.watch_session(conn)
        self.failure_detector.forget()
        self.locked, self.heartbeat_at = False, 0.0
        return conn

    def lost(self, error: Exception, now: float) -> None:
        """Say once what happened; try again after a while."""
        if self.backoff.failures == 0:
            log.warning("%s; trying again until it answers", " ".join(str(error).split()))
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self.connect_at = now + self.backoff.record()

    def close(self, now: float, worker_names: Sequence[str] = ()) -> None:
        """Leave in order, when the database still answers. What living workers hold is left to the next supervisor."""
        if self.connection is None or self.supervisor is None:
            return
        try:
            self.catch_up(self.connection, now)
            leases.release_orphans(self.connection, self.supervisor, worker_names)
            supervisors.retire(self.connection, self.supervisor)
        except psycopg.Error as error:
            log.warning(
                "the database failed at the end, the next supervisor will clean up: %s", error
            )
        self.connection.close()
