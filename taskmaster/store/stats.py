"""How full the queues are, for somebody who asks again and again."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES
from taskmaster.store.statements import statement

MOST = 1_000_000  # jobs of a state that are counted: more are not looked at


class QueueStats(NamedTuple):
    """Jobs of a queue by state, and the age in seconds of the oldest ready one; None: there is none."""

    jobs: Mapping[str, int]
    oldest_seconds: float | None


def queue_stats(
    conn: Connection, queue_names: Sequence[str], *, most: int = MOST
) -> dict[str, QueueStats]:
    """The figures of each queue. Its states: ready, scheduled, running, rejected; each counted up to `most`."""
    parameters = {"queue_names": list(queue_names), "priorities": PRIORITIES, "most": most}
    rows = conn.execute(statement("stats/queues"), parameters).fetchall()
    return {
        name: QueueStats(
            {"ready": ready, "scheduled": scheduled, "running": running, "rejected": rejected},
            None if oldest is None else max(0.0, oldest),
        )
        for name, ready, scheduled, running, rejected, oldest in rows
    }
