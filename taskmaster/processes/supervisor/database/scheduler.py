"""The scheduler: promote scheduled jobs to ready when they are due."""

import math
from dataclasses import dataclass

from taskmaster.processes.supervisor.database.session import LOCKED_SECONDS, DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import jobs
from taskmaster.store.connection import Connection


@dataclass(slots=True)
class Scheduler(BaseService):
    """Promotes at `due_at`. None means that no job is scheduled."""

    session: DatabaseSession
    due_at: float | None = None

    def run_due(self, now: float) -> None:
        """Promote all jobs that are due, a thousand at a time."""
        if not self.session.is_open or self.due_at is None or now < self.due_at:
            return
        if not self.session.run_patiently(lambda conn: self._promote(conn, now), now):
            self.due_at = now + LOCKED_SECONDS

    def next_due(self) -> float:
        return math.inf if self.due_at is None or not self.session.is_open else self.due_at

    def on_heartbeat(self, due_seconds: float | None, now: float) -> None:
        """Plan the next promotion. `due_seconds` is None if no job is scheduled."""
        self.due_at = None if due_seconds is None else now + max(0.0, due_seconds)

    def on_due_notification(self, now: float) -> None:
        """Look at the schedule at once: a job was put that is due soon."""
        self.due_at = now

    def _promote(self, conn: Connection, now: float) -> None:
        moved, due_seconds = jobs.promote(conn)
        if moved == jobs.PROMOTE_AT_MOST:
            self.due_at = now
        elif due_seconds is not None:
            # A job that is due already is locked by another session for a moment.
            self.due_at = now + max(due_seconds, LOCKED_SECONDS)
        else:
            self.due_at = None
