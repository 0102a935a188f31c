"""The listener: the one LISTEN connection of a supervisor.

No other statement runs on it: it could make libpq read a notification, and `poll` reports only what
is unread.
"""

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from taskmaster.backoff import Backoff
from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import one_line

log = logging.getLogger("taskmaster.supervisor")

DUE = "due"
NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class Listener(BaseService):
    """Reconnects by itself. While it is down, idle workers find new jobs by looking.

    `on_jobs` is called with the number of new jobs per queue, `on_due` with the time if a scheduled
    job is due soon. It does not connect while the supervisor's own session cannot.
    """

    session: DatabaseSession
    on_jobs: Callable[[Counter[str]], None]
    on_due: Callable[[float], None]
    connection: Connection | None = None
    connect_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    @property
    def is_up(self) -> bool:
        return self.connection is not None

    def run_due(self, now: float) -> None:
        """Connect if it is time, and read what has arrived since then."""
        if self.connection is not None or now < self.connect_at or not self.session.is_open:
            return
        try:
            self.connection = self._connect()
        except (DatabaseUnreachable, psycopg.Error):
            self.connect_at = time.monotonic() + self.backoff.record()
            return
        if self.backoff.failures:
            log.info("listener reconnected")
        self.backoff.reset()
        self.read()

    def next_due(self) -> float:
        return math.inf if self.is_up or not self.session.is_open else self.connect_at

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        return {} if self.connection is None else {self.connection.fileno(): self.read}

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def read(self) -> None:
        """Pass on the notifications that have arrived, without waiting."""
        if self.connection is None:
            return
        jobs: Counter[str] = Counter()
        is_due = False
        try:
            for notify in self.connection.notifies(timeout=0):
                count, _, queue_name = notify.payload.partition(" ")
                is_due = is_due or count == DUE
                # Anyone may notify on this channel, so other payloads are ignored.
                if NUMBER.fullmatch(count):
                    jobs[queue_name] += int(count)
        except psycopg.Error as error:
            log.warning("listener lost, reconnecting: %s", one_line(error))
            self.close()
            self.backoff.record()
        self.on_jobs(jobs)
        if is_due:
            self.on_due(time.monotonic())

    def _connect(self) -> Connection:
        connection = connect(
            self.session.database.url,
            self.session.database.schema,
            name="taskmaster listener",
            kind=self.session.kind,
        )
        channel = sql.Identifier(self.session.database.schema)
        connection.execute(sql.SQL("listen {}").format(channel), prepare=False)
        return connection
