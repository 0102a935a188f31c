"""The one LISTEN connection. Nothing else runs on it: a notification that libpq has read is not seen by `select`."""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.store.connection import Connection, connect

log = logging.getLogger("taskmaster.supervisor")

DUE = "due"
NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class Notifications:
    """What was heard: jobs per queue, and whether the schedule has changed."""

    jobs: Counter[str] = field(default_factory=Counter)
    due: bool = False


@dataclass(slots=True)
class Listener:
    """Reconnects by itself; while it is down, the looks of idle workers find what comes in."""

    database_url: str
    schema: str
    connection: Connection | None = None
    connect_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    @property
    def up(self) -> bool:
        return self.connection is not None

    def run_due(self, now: float) -> Notifications | None:
        """Connect when it is time; what is heard at once, or None when nothing has changed."""
        if self.connection is not None or now < self.connect_at:
            return None
        try:
            connection = connect(self.database_url, self.schema, name="taskmaster listener")
            connection.execute(
                sql.SQL("listen {}").format(sql.Identifier(self.schema)), prepare=False
            )
        except (DatabaseUnreachable, psycopg.Error):
            self.connect_at = now + self.backoff.record()
            return None
        if self.backoff.failures:
            log.info("listening again")
        self.backoff.reset()
        self.connection = connection
        return self.read()

    def read(self) -> Notifications:
        """Take in what has arrived, without waiting."""
        heard = Notifications()
        assert self.connection is not None
        try:
            for notify in self.connection.notifies(timeout=0):
                count, _, queue_name = notify.payload.partition(" ")
                if count == DUE:
                    heard.due = True
                elif NUMBER.fullmatch(count):  # anybody may notify on this channel
                    heard.jobs[queue_name] += int(count)
        except psycopg.Error as error:
            log.warning("LISTEN was lost, connecting again: %s", " ".join(str(error).split()))
            self.close()
            self.backoff.record()
        return heard

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
