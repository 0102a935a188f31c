"""The listener: the one LISTEN connection of a supervisor.

No other statement runs on it: it could make libpq read a notification, and `poll` reports only what
is unread. So the supervisor's own session sends it a notification now and then. If that does not
arrive, the connection is lost although it was never closed.
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
from taskmaster.processes.supervisor.database.probe import Probe
from taskmaster.processes.supervisor.database.session import STATEMENT_SECONDS, DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import DATABASE_ERRORS, one_line

log = logging.getLogger("taskmaster.supervisor")

DUE = "due"
PROBE = "probe"
SUBJECT = "the listener's probe"
NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class Listener(BaseService):
    """Reconnects by itself. While it is down, idle workers find new jobs by looking.

    `on_jobs` is called with the number of new jobs per queue, `on_due` with the time if a scheduled
    job is due soon, and `on_connect` when it listens again: notifications may have been missed. It
    does not connect while the supervisor's own session cannot.
    """

    session: DatabaseSession
    on_jobs: Callable[[Counter[str]], None]
    on_due: Callable[[float], None]
    on_connect: Callable[[], object]
    connection: Connection | None = None
    connect_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))
    probe: Probe = field(default_factory=Probe)

    def __post_init__(self) -> None:
        # It may be connected to another server now.
        self.session.on_connect.append(self.probe.reset)

    @property
    def is_up(self) -> bool:
        return self.connection is not None

    def run_due(self, now: float) -> None:
        """Connect if it is time, and see that notifications arrive."""
        if not self.session.is_open:
            return
        self.probe.look(now)
        if self.probe.is_overdue(now):
            self._reconnect_if_silent(now)
        if self.connection is None and now >= self.connect_at:
            self._connect()
        if self.connection is not None and now >= self.probe.due_at:
            self._send_probe(now)

    def next_due(self) -> float:
        if not self.session.is_open:
            return math.inf
        return self.probe.next_due() if self.is_up else self.connect_at

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
                word, _, rest = notify.payload.partition(" ")
                is_due = is_due or word == DUE
                # Anyone may notify on this channel, so other payloads are ignored.
                if NUMBER.fullmatch(word):
                    jobs[rest] += int(word)
                elif notify.payload == self._probe_payload():
                    self.probe.on_received()
        except psycopg.Error as error:
            log.warning("listener lost, reconnecting: %s", one_line(error))
            self._lose()
        self.on_jobs(jobs)
        if is_due:
            self.on_due(time.monotonic())

    def _reconnect_if_silent(self, now: float) -> None:
        """Read what has arrived. If the probe has not, close the connection without waiting."""
        self.read()
        if self.connection is not None and self.probe.is_overdue(now):
            log.warning(
                "listener silent, reconnecting: a notification sent to it has not arrived within "
                "%g s",
                self.probe.patience_seconds,
            )
            self._lose()

    def _send_probe(self, now: float) -> None:
        """Notify the listener through the supervisor's own session."""
        payload, schema = self._probe_payload(), self.session.schema
        retry_at = self.session.run(
            lambda conn: supervisors.notify(conn, schema, payload), now, subject=SUBJECT
        )
        if retry_at is None:
            self.probe.on_sent(now)
        else:
            self.probe.due_at = retry_at

    def _probe_payload(self) -> str:
        return f"{PROBE} {self.session.supervisor_id}"

    def _lose(self) -> None:
        self.close()
        self.backoff.record()

    def _connect(self) -> None:
        """Listen, and read what has arrived since then."""
        try:
            self.connection = self._open()
        except DATABASE_ERRORS:
            self.connect_at = time.monotonic() + self.backoff.record()
            return
        self.probe.reset()
        if self.backoff.failures:
            log.info("listener reconnected")
        self.backoff.reset()
        self.on_connect()
        self.read()

    def _open(self) -> Connection:
        connection = connect(
            self.session.database.url,
            self.session.database.schema,
            name="taskmaster listener",
            statement_seconds=STATEMENT_SECONDS,
            kind=self.session.kind,
        )
        channel = sql.Identifier(self.session.database.schema)
        try:
            connection.execute(sql.SQL("listen {}").format(channel), prepare=False)
        except psycopg.Error:
            connection.close()
            raise
        return connection
