"""The scheduler: promote scheduled jobs to ready when they are due."""

import math
from dataclasses import dataclass

from taskmaster.processes.supervisor.database.session import LOCKED_SECONDS, DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import jobs
from taskmaster.store.connection import Connection
from taskmaster.store.supervisors import Heartbeat


@dataclass(slots=True)
class Scheduler(BaseService):
    """Promotes at `due_at`, which is infinite if no job is scheduled."""

    session: DatabaseSession
    due_at: float = math.inf

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """Plan the next promotion for the time when the database has the next job due."""
        due_seconds = heartbeat.due_seconds
        self.due_at = math.inf if due_seconds is None else now + max(0.0, due_seconds)

    def on_due_notification(self, now: float) -> None:
        """Look at the schedule at once: a job was put that is due soon."""
        self.due_at = now

    def run_due(self, now: float) -> None:
        """Promote all jobs that are due, a thousand at a time."""
        if self.session.is_open and now >= self.due_at:
            retry_at = self.session.run_patiently(lambda conn: self._promote(conn, now), now)
            if retry_at is not None:
                self.due_at = retry_at

    def next_due(self) -> float:
        return self.due_at if self.session.is_open else math.inf

    def _promote(self, conn: Connection, now: float) -> None:
        moved, due_seconds = jobs.promote(conn)
        if moved == jobs.PROMOTE_AT_MOST:
            self.due_at = now
        elif due_seconds is not None:  # if it is due already, another session has it locked
            self.due_at = now + max(due_seconds, LOCKED_SECONDS)
        else:
            self.due_at = math.inf
