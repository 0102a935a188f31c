"""The worker: claim a batch, run it, settle it. One job at a time, a connection of its own, no thread."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import psycopg

from taskmaster.endings import Ending
from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes import batch
from taskmaster.processes.backoff import Backoff
from taskmaster.processes.batching import BatchSize
from taskmaster.processes.slots import IDLE, PHASE, STOP, TOLD, WORKING, Slots
from taskmaster.processes.wakeups import WakeupReader
from taskmaster.store import leases, supervisors
from taskmaster.store.connection import Connection, connect
from taskmaster.store.cursor import Cursor

log = logging.getLogger("taskmaster.worker")

# A worker that has just gone idle looks again: a producer may have read "nobody sleeps" and committed later.
LOOKS_SECONDS = (0.003, 0.010, 0.030, 0.100, 0.300)
# After connecting, a worker gives back what it holds without knowing: a claim that was on its way when the connection
# was lost may commit for as long as Postgres lets a statement run.
FORGOTTEN_SECONDS = 65.0
FORGOTTEN_LOOK_SECONDS = 0.2
IDLE_SECONDS = 5.0  # then it waits for wakeups, of which the supervisor sends one a second to one of the idle


class Database(NamedTuple):
    """Where the jobs are."""

    url: str
    schema: str


@dataclass(slots=True)
class Worker:
    """Turn by turn: settle what is unsettled, claim, run; and wait when there is nothing."""

    database: Database
    claimant: leases.Claimant
    place: batch.Place
    slots: Slots
    wakeups: WakeupReader
    notify_ms: int
    leaving: bool = False
    connection: Connection | None = None
    unsettled: tuple[UUID, Sequence[Ending]] | None = None
    cursor: Cursor = field(default_factory=Cursor)
    size: BatchSize = field(init=False)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.02, max_seconds=0.5))
    look: int = 0
    forgotten_until: float = 0.0
    forgotten_at: float = 0.0

    def __post_init__(self) -> None:
        wanted = self.place.consumer.batch
        self.size = BatchSize(fixed=None if wanted == "auto" else wanted)

    @property
    def stopping(self) -> bool:
        return self.leaving or bool(self.place.slot.cells[STOP])

    def run(self) -> None:
        """Work until told to stop, and leave nothing unsettled behind."""
        self.place.slot.cells[PHASE] = WORKING
        while self.unsettled or not self.stopping:
            try:
                self.turn()
            except (psycopg.Error, DatabaseUnreachable) as error:
                self.lost(error)
        if self.connection is not None:
            self.connection.close()

    def turn(self) -> None:
        """Settle, claim and run one batch, or wait for one."""
        conn = self.connection or self.connected()
        if self.unsettled is None:
            self.give_back_forgotten(conn)
            lease = leases.claim(conn, self.claimant, self.cursor, batch=self.size.next())
            self.backoff.reset()
            if lease is None:
                return self.idle(conn)
            self.work(conn, lease)
        return self.settle(conn)

    def work(self, conn: Connection, lease: leases.Lease) -> None:
        """Run the batch; its endings are kept until they are settled."""
        self.look = 0
        began = time.monotonic()
        result = batch.run(self.place, conn, lease)
        self.size.record(result.started, time.monotonic() - began)
        self.unsettled = lease.token, result.endings

    def settle(self, conn: Connection) -> None:
        """End the batch in one statement. After a lost connection it is tried again: the token makes that safe."""
        assert self.unsettled is not None
        token, endings = self.unsettled
        if not leases.settle(conn, token, endings):
            log.warning("lease %s was lost: its outcomes were not written", token)
        self.unsettled = None
        self.place.slot.finish()

    def idle(self, conn: Connection) -> None:
        """Wait for a wakeup or for the next look."""
        self.ask_for_notifications(conn)
        self.place.slot.cells[PHASE] = IDLE
        while not self.stopping and not self.waited():
            pass  # each wait is bounded, so that `stopping` is seen
        self.place.slot.cells[PHASE] = WORKING

    def ask_for_notifications(self, conn: Connection) -> None:
        """Renew what makes puts notify, unless the supervisor has done it."""
        now = time.monotonic_ns()
        if self.slots.notified_until_ns < now + self.notify_ms * 1_000_000 // 3:
            supervisors.doze(conn, self.notify_ms)
            self.slots.notified_until_ns = now + self.notify_ms * 1_000_000

    def waited(self) -> bool:
        """Wait once; is it time to look?"""
        looking = self.look < len(LOOKS_SECONDS)
        told = self.wakeups.get(LOOKS_SECONDS[self.look] if looking else IDLE_SECONDS)
        if told:
            self.place.slot.cells[TOLD] = 0
        elif looking:
            self.look += 1
        return told or looking

    def connected(self) -> Connection:
        name = f"taskmaster {self.claimant.worker}"
        self.connection = connect(self.database.url, self.database.schema, name=name, hot=True)
        self.cursor = Cursor()
        self.forgotten_until, self.forgotten_at = time.monotonic() + FORGOTTEN_SECONDS, 0.0
        return self.connection

    def give_back_forgotten(self, conn: Connection) -> None:
        """After a lost connection: a claim may have been committed, then or a little later, whose answer was lost."""
        now = time.monotonic()
        if self.forgotten_at <= now < self.forgotten_until:
            leases.release_forgotten(conn, self.claimant)
            self.forgotten_at = now + FORGOTTEN_LOOK_SECONDS

    def lost(self, error: Exception) -> None:
        """Say once what happened, wait a little, and connect anew."""
        self.size.claim_failed()
        if self.backoff.failures == 0:
            log.warning("the database failed, trying again: %s", " ".join(str(error).split()))
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.wakeups.get(self.backoff.record()):
            self.place.slot.cells[TOLD] = 0
