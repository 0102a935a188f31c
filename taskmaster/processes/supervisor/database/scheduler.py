"""The scheduler: promote scheduled jobs to ready when they are due."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from taskmaster.processes.supervisor.database.session import LOCKED_SECONDS, DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import jobs
from taskmaster.store.connection import Connection
from taskmaster.store.faults import is_blocked, one_line
from taskmaster.store.supervisors import Heartbeat

log = logging.getLogger("taskmaster.supervisor")

SKIPPED_SECONDS = 5.0
SUBJECT = "the promotion of scheduled jobs"


@dataclass(slots=True)
class Scheduler(BaseService):
    """Promotes at `due_at`, which is infinite if no job is scheduled.

    Jobs that the database refuses to promote are skipped for a while.
    """

    session: DatabaseSession
    due_at: float = math.inf
    skipped_until: dict[int, float] = field(default_factory=dict)

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
            retry_at = self.session.run(lambda conn: self._promote(conn, now), now, subject=SUBJECT)
            if retry_at is not None:
                self.due_at = retry_at

    def next_due(self) -> float:
        return self.due_at if self.session.is_open else math.inf

    def _promote(self, conn: Connection, now: float) -> None:
        skipped = [job_id for job_id, until in self.skipped_until.items() if until > now]
        try:
            moved, due_seconds = jobs.promote(conn, skipped=skipped)
        except psycopg.Error as error:
            if conn.closed or is_blocked(error, conn):
                raise
            if not self._promote_apart(conn, skipped, now):
                raise  # no job is to blame
            return
        if len(skipped) < len(self.skipped_until):
            self.skipped_until = {job_id: self.skipped_until[job_id] for job_id in skipped}
        if moved == jobs.PROMOTE_AT_MOST:
            self.due_at = now
        elif due_seconds is not None:  # if it is due already, another session has it locked
            self.due_at = now + max(due_seconds, LOCKED_SECONDS)
        else:
            self.due_at = math.inf

    def _promote_apart(self, conn: Connection, skipped: Sequence[int], now: float) -> bool:
        """Promote the jobs that can be promoted, and skip the others for a while.

        Return whether there are others.
        """
        spoiled = jobs.promote_apart(conn, skipped=skipped)
        for job_id, error in spoiled:
            if job_id not in self.skipped_until:
                log.error(
                    "job set aside: job=%d cannot be promoted, tried again every %g s: %s",
                    job_id,
                    SKIPPED_SECONDS,
                    one_line(error),
                )
            self.skipped_until[job_id] = now + SKIPPED_SECONDS
        self.due_at = now
        return bool(spoiled)
