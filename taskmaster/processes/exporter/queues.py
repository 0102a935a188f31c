"""Statistics of the queues, counted in the store every few seconds.

A scrape returns the last counts, so it never waits for the database.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence

import psycopg

from taskmaster.errors import TaskmasterError
from taskmaster.processes.ipc.plan import Database
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import describe_fault
from taskmaster.store.stats import QueueStats, queue_stats

log = logging.getLogger("taskmaster.exporter")

EVERY_SECONDS = 5.0
REST_FACTOR = 20  # counting takes at most a twentieth of the time
STALE_SECONDS = 60.0
FIRST_SECONDS = 0.02  # how long a scrape waits for the first statistics
STATEMENT_SECONDS = 10.0


class Queues:
    """Counts in a thread of its own, but only while the metrics are scraped."""

    def __init__(self, database: Database, every_seconds: float = EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._names: Sequence[str] = ()
        self._stats: Mapping[str, QueueStats] = {}
        self._counted_at = -STALE_SECONDS
        self._connection: Connection | None = None
        self._is_asked = threading.Event()
        self._is_counted = threading.Event()

    def stats(self, names: Sequence[str]) -> Mapping[str, QueueStats]:
        """Return the statistics of these queues, a few seconds old.

        Return an empty mapping if they could not be counted for a minute.
        """
        self._names = names
        self._is_asked.set()
        self._is_counted.wait(FIRST_SECONDS)
        is_stale = time.monotonic() - self._counted_at >= STALE_SECONDS
        return {} if is_stale else self._stats

    def keep_counting(self) -> None:
        """Count for ever, in a thread."""
        while True:
            self._is_asked.wait(STALE_SECONDS)
            if self._is_asked.is_set() and self._names:
                self._is_asked.clear()
                seconds = self._count() or 0.0
                time.sleep(max(self._every_seconds, REST_FACTOR * seconds))

    def _count(self) -> float | None:
        """Count once. Return how long it took in seconds, or None if it failed."""
        started_at = time.monotonic()
        try:
            self._stats = queue_stats(self._connection or self._connect(), self._names)
        except (psycopg.Error, TaskmasterError) as error:
            log.warning("queues not counted: %s", describe_fault(error, self._database.schema))
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        self._counted_at = time.monotonic()
        self._is_counted.set()
        return time.monotonic() - started_at

    def _connect(self) -> Connection:
        self._connection = connect(
            self._database.url,
            self._database.schema,
            name="taskmaster exporter",
            statement_seconds=STATEMENT_SECONDS,
        )
        return self._connection
