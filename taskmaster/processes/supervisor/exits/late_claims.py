"""The late claims: batches that exited workers claimed just before they exited.

A service of the supervisor. A claim may commit after its worker exited, for as long as Postgres
lets a statement run. No settlement knows of such a lease.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.settlements import PendingSettlements
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import leases
from taskmaster.store.connection import Connection
from taskmaster.store.supervisors import Heartbeat

LATE_CLAIMS_SECONDS = 65.0
SUBJECT = "the release of late claims"


@dataclass(slots=True)
class LateClaims(BaseService):
    """Releases them after each heartbeat, as long as one may appear.

    `worker_names` returns the workers whose leases are not touched.
    """

    session: DatabaseSession
    outbox: PendingSettlements
    worker_names: Callable[[], Sequence[str]]
    due_at: float = math.inf

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """Look for late claims next."""
        self.due_at = now

    def run_due(self, now: float) -> None:
        """Release late claims, but none that a pending settlement needs."""
        if now < self.due_at:
            return
        self.due_at = math.inf
        if now < self.outbox.last_settled_at + LATE_CLAIMS_SECONDS:
            retry_at = self.session.run(self._release, now, subject=SUBJECT)
            self.due_at = math.inf if retry_at is None else retry_at

    def next_due(self) -> float:
        return self.due_at if self.session.is_open else math.inf

    def close(self) -> None:
        """Release the leases of all workers that have exited."""
        self.session.run_last(self._release)

    def _release(self, conn: Connection) -> None:
        spared = [*self.worker_names(), *self.outbox.pending.workers()]
        us, reject_once = self.session.registered_id, self.session.may_have_failed_over
        leases.release_orphans(conn, us, spared, reject_once=reject_once)
