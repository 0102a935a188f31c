"""The queues' figures, asked of the store now and then and kept: a scrape never waits for the database."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence

import psycopg

from taskmaster.errors import TaskmasterError
from taskmaster.processes.shared.plan import Database
from taskmaster.store.connection import Connection, connect
from taskmaster.store.stats import QueueStats, queue_stats

log = logging.getLogger("taskmaster.exporter")

EVERY_SECONDS = 5.0
REST = 20  # to count may take a twentieth of the time at most
STALE_SECONDS = 60.0
FIRST_SECONDS = 0.02  # that a scrape waits for the first figures
STATEMENT_SECONDS = 10.0


class Queues:
    """Counts in a thread of its own, as long as somebody has asked a while ago."""

    def __init__(self, database: Database, every_seconds: float = EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._names: Sequence[str] = ()
        self._figures: Mapping[str, QueueStats] = {}
        self._counted_at = -STALE_SECONDS
        self._connection: Connection | None = None
        self._asked = threading.Event()
        self._counted = threading.Event()

    def figures(self, names: Sequence[str]) -> Mapping[str, QueueStats]:
        """What is known of these queues, seconds old; nothing when the database has not answered for a minute."""
        self._names = names
        self._asked.set()
        self._counted.wait(FIRST_SECONDS)
        return self._figures if time.monotonic() - self._counted_at < STALE_SECONDS else {}

    def keep_counting(self) -> None:
        """The thread."""
        while True:
            self._asked.wait(STALE_SECONDS)
            if self._asked.is_set() and self._names:
                self._asked.clear()
                took = self._count()
                time.sleep(
                    self._every_seconds if took is None else max(self._every_seconds, REST * took)
                )

    def _count(self) -> float | None:
        """Count once; how long it took, in seconds. None: it could not be done."""
        began = time.monotonic()
        try:
            conn = self._connection or self._connected()
            self._figures = queue_stats(conn, self._names)
            self._counted_at = time.monotonic()
            self._counted.set()
        except (psycopg.Error, TaskmasterError) as error:
            log.warning("the queues cannot be counted: %s", " ".join(str(error).split()))
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        return time.monotonic() - began

    def _connected(self) -> Connection:
        self._connection = connect(
            self._database.url,
            self._database.schema,
            name="taskmaster exporter",
            statement_seconds=STATEMENT_SECONDS,
        )
        return self._connection
