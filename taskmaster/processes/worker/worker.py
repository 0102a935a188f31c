"""The worker: turn by turn a delivery's work, and waiting in between. One job at a time, one connection, no thread."""

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Protocol

import psycopg

from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.fd_identity import Identity, identity
from taskmaster.processes.shared.scoreboard import (
    BACKEND,
    EMPTY,
    FOUND,
    IDLE,
    LEAVING,
    PHASE,
    STOP,
    WOKEN,
    WORKING,
    Scoreboard,
    ScoreboardRow,
)
from taskmaster.processes.shared.wakeups import WakeupReader
from taskmaster.processes.worker.recycling import Recycling
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection

log = logging.getLogger("taskmaster.worker")

# A worker that has just gone idle looks again: a producer may have read "nobody sleeps" and committed later.
LOOKS_SECONDS = (0.003, 0.010, 0.030, 0.100, 0.300)
UNSURE_SECONDS = 1.0
IDLE_SECONDS = (
    5.0  # then it waits for wakeups, of which the supervisor sends one a second to one of the idle
)


class Delivery(Protocol):
    """How jobs are claimed, run and ended: leased.py, transactional.py."""

    @property
    def pending(self) -> bool:
        """Is something still to be written of what has run?"""

    @property
    def unsure(self) -> bool:
        """May it hold jobs without knowing? Then it does not sleep for long."""

    def connect(self) -> Connection: ...

    def lost(self) -> None:
        """The connection was lost."""

    def finish(self, conn: Connection) -> None:
        """Write what is pending."""

    def step(self, conn: Connection, *, at_most: int | None) -> int | None:
        """Write what is pending, claim and run up to `at_most` jobs; how many were started, None: there was nothing."""


class Health(Protocol):
    """What is looked after between jobs: guard.py."""

    def watch_signals(self) -> None: ...

    def damage(self) -> str | None: ...


@dataclass(slots=True)
class Worker:
    """Turn by turn: finish what is pending, claim, run; and wait when there is nothing."""

    schema: str
    delivery: Delivery
    row: ScoreboardRow
    scoreboard: Scoreboard
    wakeups: WakeupReader
    recycling: Recycling
    notify_ms: int
    parked: bool = False
    leaving: bool = False
    connection: Connection | None = None
    socket: Identity | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.02, max_seconds=0.5))
    look: int = 0

    @property
    def stopping(self) -> bool:
        return self.leaving or bool(self.row.cells[STOP])

    def leave(self) -> None:
        """Leave after the job at hand."""
        self.leaving = True

    def run(self, health: Health) -> None:
        """Work until told to stop, and leave nothing pending behind."""
        health.watch_signals()
        os.register_at_fork(after_in_child=self.disown)
        if self.parked:
            self.wait_for_the_start()
        self.row.cells[PHASE] = WORKING
        while self.delivery.pending or not self.stopping:
            try:
                self.step()
            except (psycopg.Error, DatabaseUnreachable) as error:
                self.lost(error)
            health.watch_signals()
            if (damage := health.damage()) is not None:
                log.warning("%s: it leaves, another takes its place", damage)
                self.leave()
                self.drop_what_is_not_ours()
        self.row.cells[PHASE] = LEAVING
        if self.connection is not None:
            self.connection.close()

    def wait_for_the_start(self) -> None:
        """A scout of a new generation shows that it could work, and waits until it is its turn."""
        self.row.cells[PHASE] = IDLE
        while self.parked and not self.stopping:
            self.parked = not self.wakeups.get(IDLE_SECONDS)
        self.row.cells[WOKEN] = 0

    def step(self) -> None:
        """Run what is there, or wait for something; when stopping, write what is pending."""
        conn = self.connection or self.connected()
        if self.stopping:
            return self.delivery.finish(conn)
        ran = self.delivery.step(conn, at_most=self.recycling.left())
        self.backoff.reset()
        if ran is None:
            self.row.cells[EMPTY] += 1
            return self.idle(conn)
        self.row.cells[FOUND] += 1
        self.look = 0
        if self.recycling.record(ran):
            self.leave()
        return None

    def idle(self, conn: Connection) -> None:
        """Wait for a wakeup or for the next look."""
        self.ask_for_notifications(conn)
        self.row.cells[PHASE] = IDLE
        while not self.stopping and not self.waited():
            pass  # each wait is bounded, so that `stopping` is seen
        self.row.cells[PHASE] = WORKING

    def ask_for_notifications(self, conn: Connection) -> None:
        """Renew what makes puts notify, unless the supervisor has done it."""
        now = time.monotonic_ns()
        if self.scoreboard.notified_until_ns < now + self.notify_ms * 1_000_000 // 3:
            supervisors.announce_idle(conn, self.schema, self.notify_ms)
            self.scoreboard.notified_until_ns = now + self.notify_ms * 1_000_000

    def waited(self) -> bool:
        """Wait once; is it time to look?"""
        looking = self.look < len(LOOKS_SECONDS)
        seconds = UNSURE_SECONDS if self.delivery.unsure else IDLE_SECONDS
        told = self.wakeups.get(LOOKS_SECONDS[self.look] if looking else seconds)
        if told:
            self.row.cells[WOKEN] = 0
        elif looking:
            self.look += 1
        return told or looking or self.delivery.unsure

    def connected(self) -> Connection:
        self.connection = self.delivery.connect()
        self.socket = identity(self.connection.fileno())
        self.row.cells[BACKEND] = self.connection.info.backend_pid
        return self.connection

    def drop_what_is_not_ours(self) -> None:
        """Settle on another connection, when the number of this one's socket is another file's by now."""
        conn = self.connection
        if conn is not None and not conn.closed and identity(conn.fileno()) != self.socket:
            self.lost(psycopg.OperationalError("a callback has closed the connection's descriptor"))

    def disown(self) -> None:
        """In a child of a callback's: held open there, the session and its locks would outlive this worker."""
        if self.connection is not None and not self.connection.closed:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the number stays taken: libpq will close it
            os.dup2(nowhere, self.connection.fileno(), inheritable=False)
            os.close(nowhere)

    def lost(self, error: Exception) -> None:
        """Say once what happened, wait a little, and connect anew."""
        self.delivery.lost()
        if self.backoff.failures == 0:
            log.warning("the database failed, trying again: %s", " ".join(str(error).split()))
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.wakeups.get(self.backoff.record()):
            self.row.cells[WOKEN] = 0
