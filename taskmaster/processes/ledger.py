"""The supervisor's dealings with the store. What cannot be written now is kept until the database answers."""

import logging
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from taskmaster.errors import DatabaseUnreachable
from taskmaster.options import SupervisorOptions
from taskmaster.processes.backoff import Backoff
from taskmaster.processes.burial import Death, endings
from taskmaster.processes.failures import HOST
from taskmaster.processes.worker import Database
from taskmaster.store import leases, migrate, supervisors
from taskmaster.store.connection import Connection, connect

log = logging.getLogger("taskmaster.supervisor")

RESCUER_MAX_CRASHES = 3  # a rescuer may not have the consumer of a job that it rescues: the default stands
LOCKED_SECONDS = 0.1  # before a due job that another transaction has locked is looked at again
ORPHAN_LOOKS = 3  # a claim may commit after the death of the worker that sent it: look again on the next heartbeats


class Evicted(Exception):
    """Other supervisors took this one for dead and gave its leases back."""


@dataclass(slots=True)
class Ledger:
    """Heartbeat, promotion, rescue and burials, each when it is due."""

    database: Database
    options: SupervisorOptions
    supervisor: int | None = None
    connection: Connection | None = None
    connect_at: float = 0.0
    heartbeat_at: float = 0.0
    promote_at: float | None = None
    rescue_at: float = 0.0
    orphan_looks: int = 0
    deaths: deque[Death] = field(default_factory=deque)
    releases: deque[tuple[UUID, Sequence[int]]] = field(default_factory=deque)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    @property
    def open(self) -> bool:
        return self.connection is not None

    def tend(self, now: float, *, idle: bool, living: Sequence[str]) -> bool:
        """Do what is due; True when this was a heartbeat. Raises Evicted, and SchemaMismatch on connecting."""
        if self.connection is None and now < self.connect_at:
            return False
        try:
            conn = self.connection or self.connected()
            self.catch_up(conn)
            beat = now >= self.heartbeat_at and self.heartbeat(conn, now, idle=idle, living=living)
            self.promote(conn, now)
            return beat
        except (psycopg.Error, DatabaseUnreachable) as error:
            self.lost(error, now)
            return False

    def next_due(self) -> float:
        if self.connection is None:
            return self.connect_at
        return self.heartbeat_at if self.promote_at is None else min(self.heartbeat_at, self.promote_at)

    def catch_up(self, conn: Connection) -> None:
        """Settle for the dead and give back what was taken back, in the order in which it happened."""
        while self.releases:
            leases.release(conn, *self.releases[0])
            self.releases.popleft()
        while self.deaths:
            bury(conn, self.deaths[0])
            self.deaths.popleft()
            self.orphan_looks = ORPHAN_LOOKS

    def heartbeat(self, conn: Connection, now: float, *, idle: bool, living: Sequence[str]) -> bool:
        assert self.supervisor is not None
        beat = supervisors.heartbeat(conn, self.supervisor, idle=idle, idle_ms=self.options.notify_ms)
        if not beat.alive:
            conn.close()
            self.connection = self.supervisor = None
            raise Evicted
        self.heartbeat_at = now + self.options.heartbeat_seconds
        self.due_in(beat.due_seconds, now)
        if self.orphan_looks:
            leases.release_orphans(conn, self.supervisor, living)
            self.orphan_looks -= 1
        if now >= self.rescue_at:
            self.rescue(conn, now)
        return True

    def rescue(self, conn: Connection, now: float) -> None:
        assert self.supervisor is not None
        gone_after = self.options.gone_after_seconds
        rescued = supervisors.rescue(conn, self.supervisor, gone_after=gone_after, max_crashes=RESCUER_MAX_CRASHES)
        self.rescue_at = now + gone_after / 3
        if rescued:
            log.warning("rescued %d jobs of a supervisor that is gone", rescued)

    def promote(self, conn: Connection, now: float) -> None:
        """Make scheduled jobs ready at their time; all that are due, a thousand at a time."""
        if self.promote_at is None or now < self.promote_at:
            return
        moved, due_seconds = supervisors.promote(conn)
        if moved == supervisors.PROMOTE_AT_MOST:
            self.promote_at = now
        elif due_seconds is not None:  # due already: somebody else has it locked, and may yet let go of it
            self.promote_at = now + max(due_seconds, LOCKED_SECONDS)
        else:
            self.promote_at = None

    def due_in(self, seconds: float | None, now: float) -> None:
        self.promote_at = None if seconds is None else now + max(0.0, seconds)

    def schedule_changed(self, now: float) -> None:
        """Look at the schedule at once: something is due soon."""
        self.promote_at = now

    def connected(self) -> Connection:
        """Connect; the first time, or after an eviction, migrate and register too."""
        name = f"taskmaster supervisor {HOST}:{os.getpid()}"
        conn = connect(self.database.url, self.database.schema, name=name, statement_timeout="10s")
        if self.supervisor is None:
            for migration in migrate.migrate(conn, self.database.schema):
                log.info("applied migration %s", migration)
            self.supervisor = supervisors.register(conn, f"{HOST}:{os.getpid()}")
        if self.backoff.failures:
            log.info("the database is back")
        self.backoff.reset()
        self.heartbeat_at = 0.0
        self.connection = conn
        return conn

    def lost(self, error: Exception, now: float) -> None:
        """Say once what happened; try again after a while."""
        if self.backoff.failures == 0:
            log.warning("%s; trying again until it answers", " ".join(str(error).split()))
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self.connect_at = now + self.backoff.record()

    def close(self) -> None:
        """Leave in order, when the database still answers."""
        if self.connection is None or self.supervisor is None:
            return
        try:
            self.catch_up(self.connection)
            leases.release_orphans(self.connection, self.supervisor, [])
            supervisors.retire(self.connection, self.supervisor)
        except psycopg.Error as error:
            log.warning("the database failed at the end, the next supervisor will clean up: %s", error)
        self.connection.close()


def bury(conn: Connection, death: Death) -> None:
    """Settle the batch of a dead worker. The lease gone: the worker had settled it with its last breath."""
    remains = death.remains
    if remains is not None:
        leases.settle(conn, remains.token, endings(death, remains, leases.counts(conn, remains.token)))
