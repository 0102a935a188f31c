"""Put jobs, look at them, requeue and delete them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import tuple_row

from taskmaster.errors import InvalidJob
from taskmaster.job import JobRecord, State
from taskmaster.store.connection import Connection
from taskmaster.store.statements import statement, statement_for

COPY_CHUNK = 5_000
PROMOTE_AT_MOST = 1000
# How COPY's text format writes what it would otherwise read as its own.
COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


Content = tuple[bytes, bytes | None]  # the payload and the headers, as JSON


class Entry(NamedTuple):
    """What all jobs of one put share."""

    queue_name: str
    priority: int
    delay_seconds: float


class QueueCount(NamedTuple):
    """Jobs of one queue in one state, and the age of the oldest in seconds."""

    queue_name: str
    state: State
    jobs: int
    oldest_seconds: float


def put(conn: Connection, schema: str, entry: Entry, content: Content) -> int:
    """Put one job in the connection's transaction; its id. Works on any connection, ours or the caller's."""
    payload, headers = content
    parameters = entry._asdict() | {"payload": payload.decode(), "headers": _text(headers)}
    try:
        row = (
            Cursor(conn, row_factory=tuple_row)
            .execute(statement_for("jobs/put", schema), parameters)
            .fetchone()
        )
    except UnicodeEncodeError as error:
        raise InvalidJob(
            f"the connection's client_encoding ({conn.info.encoding}) cannot write {error.object[error.start]!r}:"
            " set it to UTF8"
        ) from None
    assert row is not None
    return int(row[0])


def put_many(conn: Connection, schema: str, entry: Entry, contents: Iterable[Content]) -> list[int]:
    """Put jobs by COPY, all in one transaction; their ids, in order."""
    ids: list[int] = []
    remaining = iter(contents)
    with conn.transaction():
        while chunk := list(islice(remaining, COPY_CHUNK)):
            ids += _copy(conn, schema, entry, chunk)
    return ids


def _copy(conn: Connection, schema: str, entry: Entry, contents: Sequence[Content]) -> list[int]:
    parameters = {"schema": schema, "count": len(contents), "delay_seconds": entry.delay_seconds}
    cursor = Cursor(
        conn, row_factory=tuple_row
    )  # of our own kind, whatever the caller's connection makes
    row = cursor.execute(statement("jobs/draw_ids"), parameters).fetchone()
    assert row is not None
    ids, due = row
    table = "jobs/copy_scheduled" if entry.delay_seconds else "jobs/copy_ready"
    with cursor.copy(statement_for(table, schema)) as copy:
        copy.write(b"".join(_copy_lines(ids, entry, due, contents)))
    return list(ids)


def _copy_lines(
    ids: Sequence[int], entry: Entry, due: str, contents: Sequence[Content]
) -> Iterator[bytes]:
    """COPY's text format by hand: three times the speed of a row at a time, and what is in it is bytes already."""
    columns = [
        entry.queue_name.translate(COPY_ESCAPES),
        str(entry.priority),
        *([due] if entry.delay_seconds else []),
    ]
    shared = ("\t" + "\t".join(columns) + "\t").encode()
    for job_id, (payload, headers) in zip(ids, contents, strict=True):
        escaped = b"\\N" if headers is None else headers.replace(b"\\", b"\\\\")
        yield b"%d%b%b\t%b\n" % (job_id, shared, escaped, payload.replace(b"\\", b"\\\\"))


def _text(encoded: bytes | None) -> str | None:
    return None if encoded is None else encoded.decode()


def get(conn: Connection, job_id: int) -> JobRecord | None:
    """One job wherever it is; None when there is none (acked, deleted, or never put)."""
    row = conn.execute(statement("jobs/get"), {"id": job_id}).fetchone()
    return None if row is None else _record(row)


def find(
    conn: Connection, *, queue_name: str | None, state: State | None, most: int
) -> list[JobRecord]:
    """Up to `most` jobs, lowest id first, of a queue and state (None: any)."""
    parameters = {
        "queue_name": queue_name,
        "state": None if state is None else str(state),
        "most": most,
    }
    return [_record(row) for row in conn.execute(statement("jobs/list"), parameters).fetchall()]


def _record(row: tuple[Any, ...]) -> JobRecord:
    (
        job_id,
        queue_name,
        payload,
        headers,
        priority,
        state,
        run_count,
        run_at,
        created_at,
        failures,
        worker,
    ) = row
    return JobRecord(
        id=job_id, queue_name=queue_name, payload=payload, headers=headers, priority=priority, state=State(state),
        run_count=run_count, run_at=run_at, created_at=created_at, failures=failures, worker=worker,
    )  # fmt: skip


def counts(conn: Connection) -> list[QueueCount]:
    """Jobs by queue and state."""
    rows = conn.execute(statement("jobs/counts")).fetchall()
    return [
        QueueCount(queue_name, State(state), jobs, oldest)
        for queue_name, state, jobs, oldest in rows
    ]


def promote(conn: Connection) -> tuple[int, float | None]:
    """Make due jobs ready: how many, and seconds until the next one is due."""
    row = conn.execute(statement("jobs/promote"), {"most": PROMOTE_AT_MOST}).fetchone()
    assert row is not None
    return row[0], row[1]


def requeue(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Put rejected jobs back, their counts at 0; the ids of those that were rejected."""
    return [
        row[0] for row in conn.execute(statement("jobs/requeue"), {"ids": list(ids)}).fetchall()
    ]


def requeue_queue(conn: Connection, queue_name: str) -> int:
    """Put all rejected jobs of a queue back; how many."""
    return _count(conn, "jobs/requeue_queue", {"queue_name": queue_name})


def delete(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Delete jobs that are not running; the ids of those that were."""
    return [row[0] for row in conn.execute(statement("jobs/delete"), {"ids": list(ids)}).fetchall()]


def delete_queue(conn: Connection, queue_name: str, state: State | None) -> int:
    """Delete a queue's jobs that are not running, or those in one state; how many."""
    return _count(
        conn,
        "jobs/delete_queue",
        {"queue_name": queue_name, "state": None if state is None else str(state)},
    )


def _count(conn: Connection, name: str, parameters: dict[str, Any]) -> int:
    row = conn.execute(statement(name), parameters).fetchone()
    return int(row[0]) if row else 0
