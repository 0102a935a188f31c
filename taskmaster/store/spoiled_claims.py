"""Skip jobs that cannot be claimed, so that they do not keep their queue from the others.

The reason may be a trigger, or a payload that is damaged on disk.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import psycopg

from taskmaster.store.connection import Connection
from taskmaster.store.cursor import SKIPPED_SECONDS, Cursor
from taskmaster.store.faults import is_of_job, one_line
from taskmaster.store.rows import fetch_first
from taskmaster.store.statements import statement_for

log = logging.getLogger("taskmaster.worker")

MOST_SKIPPED_AT_ONCE = 10
Claim = TypeVar("Claim")


class _Next(NamedTuple):
    id: int
    priority: int
    position: int


def claim_apart(
    conn: Connection, schema: str, queue_name: str, cursor: Cursor, claim_one: Callable[[], Claim]
) -> Claim:
    """Return what `claim_one` returns, after jobs that it cannot claim are skipped for a while.

    Raises psycopg.Error if no job is to blame, or too many.
    """
    for _ in range(MOST_SKIPPED_AT_ONCE):
        cursor.sweep_next()  # so that the claim and the search for the job begin at the same place
        try:
            return claim_one()
        except psycopg.Error as error:
            if not is_of_job(error, conn) or not _skip_next(
                conn, schema, queue_name, cursor, error
            ):
                raise
    return claim_one()


def _skip_next(
    conn: Connection, schema: str, queue_name: str, cursor: Cursor, error: psycopg.Error
) -> bool:
    """Skip the job that the claim would have taken. Return False if there is none."""
    parameters = {"queue_name": queue_name, **cursor.start(True)._asdict()}
    found = fetch_first(conn, _Next, statement_for("leases/next", schema), parameters)
    if found is None:
        return False
    if cursor.skip((found.priority, found.position)):
        log.error(
            "job set aside: job=%d cannot be claimed, tried again every %g s: %s",
            found.id,
            SKIPPED_SECONDS,
            one_line(error),
        )
    return True
