"""Put, find, promote, requeue and delete jobs."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import Cursor

from taskmaster.errors import InvalidJob
from taskmaster.failure import parse_failures
from taskmaster.job import JobRecord, State
from taskmaster.store.apart import spoiled_among
from taskmaster.store.connection import Connection
from taskmaster.store.rows import fetch_all, fetch_column, fetch_first, fetch_one, fetch_value
from taskmaster.store.spool import Content, Spool, spool
from taskmaster.store.statements import statement, statement_for

PROMOTE_AT_MOST = 1_000
# How COPY's text format writes the characters that it would otherwise read as its own.
COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Entry(NamedTuple):
    """The options that all jobs of one put share."""

    queue_name: str
    priority: int
    delay_seconds: float


class QueueCount(NamedTuple):
    """The jobs of one queue in one state, and the age of the oldest in seconds."""

    queue_name: str
    state: State
    jobs: int
    oldest_seconds: float


class Promotion(NamedTuple):
    """How many jobs were promoted, and seconds until the next is due, or None if none is."""

    jobs: int
    due_seconds: float | None


class _Draw(NamedTuple):
    """Ids for jobs that are put by COPY, and when they are due, as text for COPY."""

    ids: Sequence[int]
    due: bytes


def put(conn: Connection, schema: str, entry: Entry, content: Content) -> int:
    """Put one job in the connection's transaction and return its id. Any connection will do."""
    payload, headers = content
    parameters = {
        **entry._asdict(),
        "payload": payload.decode(),
        "headers": None if headers is None else headers.decode(),
    }
    try:
        return int(fetch_value(conn, statement_for("jobs/put", schema), parameters))
    except UnicodeEncodeError as error:
        raise InvalidJob(
            f"the connection's client_encoding ({conn.info.encoding}) cannot write"
            f" {error.object[error.start]!r}: set it to UTF8"
        ) from None


def put_many(conn: Connection, schema: str, entry: Entry, contents: Iterable[Content]) -> list[int]:
    """Put jobs by COPY, all in one transaction, and return their ids in order."""
    with spool(contents) as spooled:
        return put_spooled(conn, schema, entry, spooled)


def put_spooled(conn: Connection, schema: str, entry: Entry, spooled: Spool) -> list[int]:
    """Put jobs as `put_many` does, from rows that are complete. The transaction begins here."""
    ids: list[int] = []
    with conn.transaction():
        for rows in spooled.parts():
            ids += _copy(conn, schema, entry, rows)
    return ids


def _copy(conn: Connection, schema: str, entry: Entry, rows: Sequence[bytes]) -> Sequence[int]:
    parameters = {"schema": schema, "count": len(rows), "delay_seconds": entry.delay_seconds}
    draw = fetch_one(conn, _Draw, statement("jobs/draw_ids"), parameters)
    name = "jobs/copy_scheduled" if entry.delay_seconds else "jobs/copy_ready"
    with Cursor(conn).copy(statement_for(name, schema)) as copy:
        copy.write(b"".join(_copy_lines(draw, entry, rows)))
    return draw.ids


def _copy_lines(draw: _Draw, entry: Entry, rows: Sequence[bytes]) -> list[bytes]:
    """Write COPY's text format by hand, because the contents are bytes already.

    It is three times as fast as to write a row at a time.
    """
    columns = [entry.queue_name.translate(COPY_ESCAPES).encode(), b"%d" % entry.priority]
    if entry.delay_seconds:
        columns.append(draw.due)
    shared = b"\t" + b"\t".join(columns) + b"\t"
    return [b"%d%b%b" % (job_id, shared, row) for job_id, row in zip(draw.ids, rows, strict=True)]


def get(conn: Connection, job_id: int) -> JobRecord | None:
    """Return one job, whichever state it is in. None if it was acked, deleted or never put."""
    return fetch_first(conn, _record, statement("jobs/get"), {"id": job_id})


def find(
    conn: Connection, *, queue_name: str | None, state: State | None, most: int
) -> list[JobRecord]:
    """Return up to `most` jobs of a queue and a state, lowest id first. None means any."""
    parameters = {"queue_name": queue_name, "state": _name(state), "most": most}
    return fetch_all(conn, _record, statement("jobs/list"), parameters)


def counts(conn: Connection) -> list[QueueCount]:
    """Return the number of jobs by queue and state."""
    return fetch_all(conn, _queue_count, statement("jobs/counts"))


def promote(
    conn: Connection, *, skipped: Sequence[int] = (), only: Sequence[int] | None = None
) -> Promotion:
    """Make due jobs ready, up to PROMOTE_AT_MOST of them, but none of those in `skipped`.

    If `only` is given, no others are made ready.
    """
    parameters = {
        "most": PROMOTE_AT_MOST,
        "skipped": list(skipped),
        "only": None if only is None else list(only),
    }
    return fetch_one(conn, Promotion, statement("jobs/promote"), parameters)


def promote_apart(conn: Connection, *, skipped: Sequence[int]) -> list[tuple[int, psycopg.Error]]:
    """Make due jobs ready, although one of them spoils it. Return these, each with its error."""
    parameters = {"most": PROMOTE_AT_MOST, "skipped": list(skipped)}
    due = fetch_column(conn, statement("jobs/due_ids"), parameters)
    return spoiled_among(conn, lambda ids: promote(conn, only=ids), due)


def requeue(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Requeue rejected jobs, their counts reset. Return the ids of those that were rejected."""
    return fetch_column(conn, statement("jobs/requeue"), {"ids": list(ids)})


def requeue_queue(conn: Connection, queue_name: str) -> int:
    """Requeue all rejected jobs of a queue and return how many there were."""
    return int(fetch_value(conn, statement("jobs/requeue_queue"), {"queue_name": queue_name}))


def delete(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Delete jobs that are not running and return their ids."""
    return fetch_column(conn, statement("jobs/delete"), {"ids": list(ids)})


def delete_queue(conn: Connection, queue_name: str, state: State | None) -> int:
    """Delete a queue's jobs that are not running, or those in one state. Return how many."""
    parameters = {"queue_name": queue_name, "state": _name(state)}
    return int(fetch_value(conn, statement("jobs/delete_queue"), parameters))


def _name(state: State | None) -> str | None:
    return None if state is None else str(state)


def _record(*, state: str, failures: object, **columns: Any) -> JobRecord:
    return JobRecord(state=State(state), failures=parse_failures(failures), **columns)


def _queue_count(*, state: str, **columns: Any) -> QueueCount:
    return QueueCount(state=State(state), **columns)
