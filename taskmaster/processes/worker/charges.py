"""Charge transactional runs whose transaction was lost, and keep the charges that are refused.

This runs in the worker. A job whose end cannot be written is skipped, so that it neither runs again
uncharged nor keeps its queue from the other jobs.
"""

import logging
import time
from dataclasses import dataclass, field

import psycopg

from taskmaster.settlement import Settlement
from taskmaster.store import transactions
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import SKIPPED_SECONDS, Cursor, Place
from taskmaster.store.faults import is_of_job, one_line

log = logging.getLogger("taskmaster.worker")

WAIT_MS = 1_000  # at a time, so that the worker notices a request to stop
RETRY_SECONDS = SKIPPED_SECONDS - 1.0  # so that a job is charged before it can run again


@dataclass(slots=True)
class Charge:
    """The end of a run, the number of that run, and the place of its job."""

    settlement: Settlement
    run: int
    place: Place
    retry_at: float = 0.0


@dataclass(slots=True)
class Charges:
    """The charges that the database refuses, by job."""

    schema: str
    refused: dict[int, Charge] = field(default_factory=dict)

    def write(self, conn: Connection, cursor: Cursor, charge: Charge) -> bool:
        """Charge a run, or keep the charge and skip its job. Return False if the job is locked.

        Raises psycopg.Error if the job is not to blame.
        """
        settlement = charge.settlement
        try:
            charged = transactions.charge_lost(
                conn, self.schema, settlement, run=charge.run, wait_ms=WAIT_MS
            )
        except psycopg.Error as error:
            if not is_of_job(error, conn):
                raise
            self._keep(charge, cursor, error)
            return True
        if not charged.locked:
            self.refused.pop(settlement.id, None)
        return not charged.locked

    def write_due(self, conn: Connection, cursor: Cursor) -> None:
        """Try again what was refused some seconds ago."""
        if self.refused:
            now = time.monotonic()
            for charge in [one for one in self.refused.values() if one.retry_at <= now]:
                self.write(conn, cursor, charge)

    def skip_in(self, cursor: Cursor) -> None:
        """Let a new cursor skip the jobs whose charges are refused."""
        for charge in self.refused.values():
            cursor.skip(charge.place)

    def _keep(self, charge: Charge, cursor: Cursor, error: psycopg.Error) -> None:
        job_id = charge.settlement.id
        if job_id not in self.refused:
            log.error(
                "job set aside: job=%d, its outcome cannot be written, tried again every %g s: %s",
                job_id,
                RETRY_SECONDS,
                one_line(error),
            )
        charge.retry_at = time.monotonic() + RETRY_SECONDS
        self.refused[job_id] = charge
        cursor.skip(charge.place)
