"""The heartbeat: report that this supervisor is alive, and read when the others last did.

It is the first of the database services, and nothing that may wait for a lock comes before it.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.supervisors import HeartbeatReport

log = logging.getLogger("taskmaster.supervisor")

SUBJECT = "the heartbeat"
OnHeartbeat = Callable[[supervisors.Heartbeat, float], None]


@dataclass(slots=True)
class HeartbeatService(BaseService):
    """Sends a heartbeat when it is due.

    `report` makes what it reports. The functions in `on_heartbeat` are called with its result and
    the time. They only note what to do: their services do it in the same step, after this one.
    `on_eviction` is called if another supervisor took this one for gone and released its leases.
    """

    session: DatabaseSession
    heartbeat_seconds: float
    report: Callable[[], HeartbeatReport]
    on_heartbeat: Sequence[OnHeartbeat]
    on_eviction: Callable[[], object]
    due_at: float = 0.0
    has_lock: bool = False

    def __post_init__(self) -> None:
        self.session.on_connect.append(self._on_connect)

    def run_due(self, now: float) -> None:
        """Send a heartbeat if it is due."""
        if self.session.is_open and now >= self.due_at:
            retry_at = self.session.run(lambda conn: self._beat(conn, now), now, subject=SUBJECT)
            if retry_at is not None:
                self.due_at = retry_at

    def next_due(self) -> float:
        return self.due_at if self.session.is_open else math.inf

    def _beat(self, conn: Connection, now: float) -> None:
        report = self.report()._replace(locked=self.has_lock)
        result = supervisors.heartbeat(conn, self.session.registered_id, report)
        if result is None:
            log.error(
                "supervisor evicted: another one rescued its jobs; all workers are being replaced"
            )
            self.session.unregister()
            self.on_eviction()
            return
        self.has_lock = result.locked
        self.due_at = now + self.heartbeat_seconds
        for notify in self.on_heartbeat:
            notify(result, now)

    def _on_connect(self) -> None:
        """Send a heartbeat at once, because a new session does not hold the lock yet."""
        self.has_lock, self.due_at = False, 0.0
