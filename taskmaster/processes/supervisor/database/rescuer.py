"""The rescuer: release the leases of supervisors that are gone."""

import logging
import math
from dataclasses import dataclass, field

import psycopg

from taskmaster.options import SupervisorOptions
from taskmaster.processes.supervisor.database.failure_detector import FailureDetector
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.faults import is_blocked, one_line

log = logging.getLogger("taskmaster.supervisor")

# This supervisor may not have the consumer of a rescued job, so it uses the default of
# `max_crashes`.
MAX_CRASHES = 3
SUBJECT = "the rescue of jobs"


@dataclass(slots=True)
class Rescuer(BaseService):
    """Looks for leases to rescue after each heartbeat. `rescued` counts jobs."""

    session: DatabaseSession
    options: SupervisorOptions
    rescued: int = 0
    due_at: float = math.inf
    unregistered_at: float = 0.0
    detector: FailureDetector = field(init=False)

    def __post_init__(self) -> None:
        self.detector = FailureDetector(
            self.options.heartbeat_seconds, self.options.gone_after_seconds
        )
        self.session.on_connect.append(self.detector.forget)

    def on_heartbeat(self, heartbeat: supervisors.Heartbeat, now: float) -> None:
        """Note the last heartbeats of the other supervisors, and look next."""
        self.detector.observe(heartbeat.others, now)
        self.due_at = now

    def run_due(self, now: float) -> None:
        """Rescue the leases of supervisors that are gone.

        Now and then, rescue also the leases whose supervisor is not registered.
        """
        if now < self.due_at:
            return
        self.due_at = math.inf
        gone = self.detector.suspects(now)
        if gone or now >= self.unregistered_at:
            retry_at = self.session.run(lambda conn: self._rescue(conn, gone), now, subject=SUBJECT)
            if retry_at is None:
                self.unregistered_at = now + self.options.gone_after_seconds / 3
            else:
                self.due_at = retry_at

    def next_due(self) -> float:
        return self.due_at if self.session.is_open else math.inf

    def _rescue(self, conn: Connection, gone: list[supervisors.SilentSupervisor]) -> None:
        try:
            rescued = supervisors.rescue(conn, gone, max_crashes=MAX_CRASHES)
        except psycopg.Error as error:
            if conn.closed or is_blocked(error, conn):
                raise
            if not self._rescue_apart(conn, gone):
                raise  # no lease is to blame
            return
        self.rescued += rescued
        if rescued:
            log.warning("jobs rescued from supervisors that are gone: jobs=%d", rescued)

    def _rescue_apart(self, conn: Connection, gone: list[supervisors.SilentSupervisor]) -> bool:
        """Rescue the leases that can be rescued. The others are tried again with the next look.

        Return whether there are others.
        """
        spoiled = supervisors.rescue_apart(conn, gone, max_crashes=MAX_CRASHES)
        for token, error in spoiled:
            log.error("lease set aside: token=%s cannot be rescued: %s", token, one_line(error))
        return bool(spoiled)
