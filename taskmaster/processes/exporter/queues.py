"""Statistics of the queues, counted in the store every few seconds.

A scrape returns the last counts, so it never waits for the database.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg

from taskmaster.errors import TaskmasterError
from taskmaster.processes.ipc.plan import Database
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import describe_fault
from taskmaster.store.stats import QueueStats, jobs_without_supervisor, queue_stats

log = logging.getLogger("taskmaster.exporter")

EVERY_SECONDS = 5.0
REST_FACTOR = 20  # counting takes at most a twentieth of the time
STALE_SECONDS = 60.0
FIRST_SECONDS = 0.02  # how long a scrape waits for the first statistics
STATEMENT_SECONDS = 10.0
MOST_UNSERVED = 100  # queues, because each is a label of a metric


class Counts(NamedTuple):
    """The statistics by queue, and the jobs of queues that no supervisor serves, by queue."""

    stats: Mapping[str, QueueStats]
    unserved: Mapping[str, int]


class Queues:
    """Counts in a thread of its own, but only while the metrics are scraped."""

    def __init__(self, database: Database, every_seconds: float = EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._names: Sequence[str] = ()
        self._counts = Counts({}, {})
        self._has_left_out = False
        self._counted_at = -STALE_SECONDS
        self._connection: Connection | None = None
        self._is_asked = threading.Event()
        self._is_counted = threading.Event()

    def counts(self, names: Sequence[str]) -> Counts:
        """Return the statistics of these queues, a few seconds old, and the unserved queues.

        They are empty if they could not be counted for a minute.
        """
        self._names = names
        self._is_asked.set()
        self._is_counted.wait(FIRST_SECONDS)
        is_stale = time.monotonic() - self._counted_at >= STALE_SECONDS
        return Counts({}, {}) if is_stale else self._counts

    def keep_counting(self) -> None:
        """Count for ever, in a thread."""
        while True:
            self._is_asked.wait(STALE_SECONDS)
            if self._is_asked.is_set() and self._names:
                self._is_asked.clear()
                seconds = self.count() or 0.0
                time.sleep(max(self._every_seconds, REST_FACTOR * seconds))

    def count(self) -> float | None:
        """Count once. Return how long it took in seconds, or None if it failed."""
        started_at = time.monotonic()
        try:
            conn = self._connection or self._connect()
            self._counts = Counts(
                queue_stats(conn, self._names), self._count_without_supervisor(conn)
            )
        except (psycopg.Error, TaskmasterError) as error:
            log.warning("queues not counted: %s", describe_fault(error, self._database.schema))
            self.close()
            return None
        self._counted_at = time.monotonic()
        self._is_counted.set()
        return time.monotonic() - started_at

    def close(self) -> None:
        """Close the connection. The next count opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _count_without_supervisor(self, conn: Connection) -> Mapping[str, int]:
        """Return the queues that no supervisor serves. Log once if some are left out."""
        unserved = jobs_without_supervisor(conn, most_queues=MOST_UNSERVED + 1)
        if len(unserved) > MOST_UNSERVED and not self._has_left_out:
            log.warning(
                "queues left out of the metrics: more than %d have jobs and no supervisor",
                MOST_UNSERVED,
            )
        self._has_left_out = len(unserved) > MOST_UNSERVED
        return dict(list(unserved.items())[:MOST_UNSERVED])

    def _connect(self) -> Connection:
        self._connection = connect(
            self._database.url,
            self._database.schema,
            name="taskmaster exporter",
            statement_seconds=STATEMENT_SECONDS,
        )
        return self._connection
