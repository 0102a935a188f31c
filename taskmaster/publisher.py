"""What puts jobs: on a connection of its own, or inside the caller's transaction."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import psycopg

from taskmaster.errors import InvalidJob
from taskmaster.session import Session
from taskmaster.store import jobs
from taskmaster.validation import MAX_PAYLOAD_BYTES, check_delay, check_priority, check_queue_name, encode


class Publisher:
    """Puts jobs. Opens its connection at the first put; may be shared by threads, and used after a fork.

    `database_url`: a libpq URL or conninfo; None: TASKMASTER_DATABASE_URL, else the embedded server in `.taskmaster/`.
    The schema is created at the first put when it is missing. `max_payload_bytes` bounds the encoded payload.

    >>> with Publisher("postgresql://…") as publisher:  # doctest: +SKIP
    ...     publisher.put("thumbnails", {"path": "a.jpg"}, priority=2, delay=30)
    1
    """

    def __init__(
        self, database_url: str | None = None, *, schema: str = "taskmaster", max_payload_bytes: int = MAX_PAYLOAD_BYTES
    ) -> None:
        self._session = Session(database_url, schema, migrating=True)
        self._schema = schema
        self._max_payload_bytes = max_payload_bytes

    def put(
        self,
        queue_name: str,
        payload: Any = None,
        *,
        priority: int = 0,
        delay: float = 0.0,
        headers: Mapping[str, Any] | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> int:
        """Put one job and return its id. Committed when this returns; with `connection`, when the caller commits.

        `payload` is anything orjson writes; `priority` is 0 (first) to 9; `delay` is in seconds.
        Raises InvalidJob or InvalidPayload before anything is sent, and DatabaseUnreachable.
        """
        entry = self._entry(queue_name, headers, priority, delay)
        encoded = encode(payload, max_bytes=self._max_payload_bytes)
        if connection is not None:
            return jobs.put(connection, self._schema, entry, encoded)
        with self._session.use() as conn:
            return jobs.put(conn, self._schema, entry, encoded)

    def put_many(
        self,
        queue_name: str,
        payloads: Iterable[Any],
        *,
        priority: int = 0,
        delay: float = 0.0,
        headers: Mapping[str, Any] | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> list[int]:
        """Put many jobs by COPY, all or none, and return their ids in order. Otherwise like `put`.

        The payloads are read and sent in chunks. A payload that is refused is named by its number, from 0.
        """
        entry = self._entry(queue_name, headers, priority, delay)
        encoded = (
            encode(payload, what=f"payload {number}", max_bytes=self._max_payload_bytes)
            for number, payload in enumerate(payloads)
        )
        if connection is not None:
            return jobs.put_many(connection, self._schema, entry, encoded)
        with self._session.use() as conn:
            return jobs.put_many(conn, self._schema, entry, encoded)

    def _entry(self, queue_name: str, headers: Mapping[str, Any] | None, priority: int, delay: float) -> jobs.Entry:
        if headers is not None and not isinstance(headers, Mapping):
            raise InvalidJob(f"headers must be a mapping, got {headers!r:.100}")
        encoded = None if headers is None else encode(dict(headers), what="headers", max_bytes=self._max_payload_bytes)
        return jobs.Entry(check_queue_name(queue_name), encoded, check_priority(priority), check_delay(delay))

    def close(self) -> None:
        """Close the connection; a later put opens another."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
