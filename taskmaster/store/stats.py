"""Count the jobs of queues for a reader that asks again and again, so every count is capped."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES
from taskmaster.store.rows import fetch_all
from taskmaster.store.statements import statement

MOST = 1_000_000  # jobs of a state that are counted
MOST_UNSERVED = 100_000  # jobs of a queue without a supervisor that are counted


class QueueStats(NamedTuple):
    """The jobs of a queue by state, and the age of the oldest ready one in seconds, if any."""

    jobs: Mapping[str, int]
    oldest_seconds: float | None


def queue_stats(
    conn: Connection, queue_names: Sequence[str], *, most: int = MOST
) -> dict[str, QueueStats]:
    """Return the figures of each queue. The jobs of each state are counted up to `most`."""
    parameters = {"queue_names": list(queue_names), "priorities": PRIORITIES, "most": most}
    return dict(fetch_all(conn, _stats_by_queue, statement("stats/queues"), parameters))


def jobs_without_supervisor(
    conn: Connection, *, most_queues: int, also_served: Sequence[str] = ()
) -> dict[str, int]:
    """Return the ready and scheduled jobs of queues that no supervisor serves, by queue.

    `also_served` are not among them. Nothing is returned while a supervisor runs whose version does
    not say which queues it serves.
    """
    parameters = {
        "also_served": list(also_served),
        "most": MOST_UNSERVED,
        "most_queues": most_queues,
    }
    return dict(fetch_all(conn, _UnservedQueue, statement("stats/unserved"), parameters))


class _UnservedQueue(NamedTuple):
    queue_name: str
    jobs: int


def _stats_by_queue(
    *, queue_name: str, oldest_seconds: float | None, **jobs: int
) -> tuple[str, QueueStats]:
    oldest = None if oldest_seconds is None else max(0.0, oldest_seconds)
    return queue_name, QueueStats(jobs, oldest)
