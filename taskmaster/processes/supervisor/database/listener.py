"""The listener: the one LISTEN connection of a supervisor.

No other statement runs on it: it could make libpq read a notification, and `poll` reports only what
is unread.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from taskmaster.backoff import Backoff
from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store.connection import Connection, connect

log = logging.getLogger("taskmaster.supervisor")

DUE = "due"
NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class Notifications:
    """The notifications that arrived: jobs per queue, and whether a scheduled job is due soon."""

    jobs: Counter[str] = field(default_factory=Counter)
    due: bool = False


@dataclass(slots=True)
class Listener(BaseService):
    """Reconnects by itself. While it is down, idle workers find new jobs by looking.

    `is_database_up` keeps it from connecting while the supervisor's own session cannot.
    """

    database: Database
    on_notifications: Callable[[Notifications], None]
    is_database_up: Callable[[], bool]
    connection: Connection | None = None
    connect_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    @property
    def is_up(self) -> bool:
        return self.connection is not None

    def run_due(self, now: float) -> None:
        """Connect if it is time, and read what has arrived since then."""
        if self.connection is not None or now < self.connect_at or not self.is_database_up():
            return
        try:
            self.connection = self._connect()
        except (DatabaseUnreachable, psycopg.Error):
            self.connect_at = now + self.backoff.record()
            return
        if self.backoff.failures:
            log.info("listener reconnected")
        self.backoff.reset()
        self.read()

    def next_due(self) -> float:
        return math.inf if self.is_up or not self.is_database_up() else self.connect_at

    def watched(self) -> Mapping[int, Callable[[], None]]:
        return {} if self.connection is None else {self.connection.fileno(): self.read}

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def read(self) -> None:
        """Pass on the notifications that have arrived, without waiting."""
        if self.connection is None:
            return
        arrived = Notifications()
        try:
            for notify in self.connection.notifies(timeout=0):
                _add(arrived, notify.payload)
        except psycopg.Error as error:
            log.warning("listener lost, reconnecting: %s", " ".join(str(error).split()))
            self.close()
            self.backoff.record()
        self.on_notifications(arrived)

    def _connect(self) -> Connection:
        connection = connect(self.database.url, self.database.schema, name="taskmaster listener")
        channel = sql.Identifier(self.database.schema)
        connection.execute(sql.SQL("listen {}").format(channel), prepare=False)
        return connection


def _add(arrived: Notifications, payload: str) -> None:
    """Add one notification. Anyone may notify on this channel, so other payloads are ignored."""
    count, _, queue_name = payload.partition(" ")
    if count == DUE:
        arrived.due = True
    elif NUMBER.fullmatch(count):
        arrived.jobs[queue_name] += int(count)
