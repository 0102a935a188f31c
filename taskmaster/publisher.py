"""The publisher: puts jobs on a connection of its own, or in the caller's transaction."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import psycopg

from taskmaster.consumer import Consumer
from taskmaster.environment import default_schema
from taskmaster.errors import InvalidJob
from taskmaster.middleware import Draft, PutMiddleware
from taskmaster.plugins import put_middlewares
from taskmaster.store import jobs
from taskmaster.store.session import Session
from taskmaster.store.spool import Content, spool
from taskmaster.validation import (
    MAX_PAYLOAD_BYTES,
    check_delay,
    check_priority,
    check_queue_name,
    encode,
)


class Publisher:
    """Put jobs, over a connection that is opened at the first put.

    Threads may share a Publisher, and it may be used after a fork.

    - `database_url` is a libpq URL or conninfo string. If it is None, TASKMASTER_DATABASE_URL is
      used, or else the embedded server in `.taskmaster/`.
    - `schema` is created at the first put if it is missing. If it is None, TASKMASTER_SCHEMA is
      used, or else "taskmaster".
    - `max_payload_bytes` bounds the encoded payload.
    - `consumers` have middlewares that wrap the puts into their queues, outermost first:
      `json_schema` checks the payload, `tracing` and `sentry` link the run to the put.

    >>> with Publisher("postgresql://…") as publisher:  # doctest: +SKIP
    ...     publisher.put("thumbnails", {"path": "a.jpg"}, priority=2, delay=30)
    1
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        schema: str | None = None,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        consumers: Sequence[Consumer] = (),
    ) -> None:
        self._schema = default_schema() if schema is None else schema
        self._session = Session(database_url, self._schema, creating=True)
        self._max_payload_bytes = max_payload_bytes
        self._consumers = {consumer.queue_name: consumer for consumer in consumers}
        self._put_middlewares: dict[str, Sequence[PutMiddleware]] = {}

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
        """Put one job and return its id.

        The job exists when this returns. With `connection`, it exists when the caller commits.
        `payload` is anything that orjson encodes. `priority` is from 0 (first) to 9. `delay` is the
        number of seconds before the job may run.

        Raises InvalidJob or InvalidPayload before anything is sent, InvalidConfig if a middleware
        of the queue cannot be imported, SchemaMismatch if the schema is older or newer than this
        code, DatabaseUnreachable, and DatabaseRefused if the database refuses the statement.
        Errors on the caller's `connection` are psycopg's.

        >>> publisher.put("thumbnails", {"path": "a.jpg"}, connection=conn)  # doctest: +SKIP
        2
        """
        entry = _entry(queue_name, headers, priority, delay)
        draft = Draft(queue_name, payload, headers)
        if middlewares := self._middlewares_for(queue_name):
            return _put_through(middlewares, draft, partial(self._put, entry, connection))
        return self._put(entry, connection, draft)

    def _put(
        self, entry: jobs.Entry, connection: psycopg.Connection[Any] | None, draft: Draft
    ) -> int:
        content = self._content(draft, "payload")
        if connection is not None:
            return jobs.put(_checked(connection), self._schema, entry, content)
        with self._session.use() as conn:
            return jobs.put(conn, self._schema, entry, content)

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
        """Put many jobs by COPY, all or none, and return their ids in order.

        The arguments and errors are those of `put`. All payloads are read before the first is sent,
        so that a slow generator holds up neither other threads nor the database. A generator that
        raises puts nothing. Beyond some 16 MiB the payloads wait in a temporary file, in TMPDIR,
        and TaskmasterError is raised if that has no room. The message about a refused payload has
        its number, from 0.

        >>> publisher.put_many("mail", [{"to": "ada"}, {"to": "bob"}])  # doctest: +SKIP
        [3, 4]
        """
        entry = _entry(queue_name, headers, priority, delay)
        own = None if connection is None else _checked(connection)
        with spool(self._contents(queue_name, payloads, headers)) as spooled:
            if own is not None:
                return jobs.put_spooled(own, self._schema, entry, spooled)
            with self._session.use() as conn:
                return jobs.put_spooled(conn, self._schema, entry, spooled)

    def _contents(
        self, queue_name: str, payloads: Iterable[Any], headers: Mapping[str, Any] | None
    ) -> Iterator[Content]:
        middlewares = self._middlewares_for(queue_name)
        shared = self._headers(headers)
        for number, payload in enumerate(payloads):
            what = f"payload {number}"
            if middlewares:
                draft = _draft_through(middlewares, Draft(queue_name, payload, headers), what)
                yield self._content(draft, what)
            else:
                yield encode(payload, what=what, max_bytes=self._max_payload_bytes), shared

    def _content(self, draft: Draft, what: str) -> Content:
        if not isinstance(draft, Draft):
            raise InvalidJob(f"the {what}: a middleware put {draft!r:.100}, which is no Draft")
        payload = encode(draft.payload, what=what, max_bytes=self._max_payload_bytes)
        return payload, self._headers(draft.headers)

    def _headers(self, headers: Mapping[str, Any] | None) -> bytes | None:
        if headers is None:
            return None
        return encode(dict(headers), what="headers", max_bytes=self._max_payload_bytes)

    def _middlewares_for(self, queue_name: str) -> Sequence[PutMiddleware]:
        """Return the middlewares that wrap puts into a queue. The first put imports them."""
        if queue_name not in self._consumers:
            return ()
        if queue_name not in self._put_middlewares:
            consumer = self._consumers[queue_name]
            where = f"consumer {queue_name!r}: middleware"
            self._put_middlewares[queue_name] = put_middlewares(consumer.middleware, where=where)
        return self._put_middlewares[queue_name]

    def close(self) -> None:
        """Close the connection. A later put opens another."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _entry(
    queue_name: str, headers: Mapping[str, Any] | None, priority: int, delay: float
) -> jobs.Entry:
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidJob(f"headers must be a mapping, got {type(headers).__name__}")
    return jobs.Entry(check_queue_name(queue_name), check_priority(priority), check_delay(delay))


def _checked(connection: object) -> "psycopg.Connection[Any]":
    """Return the caller's connection if jobs can be put on it. Raises InvalidJob."""
    if not isinstance(connection, psycopg.Connection):
        kind = type(connection)
        raise InvalidJob(
            f"connection must be a psycopg.Connection, got {kind.__module__}.{kind.__qualname__}"
        )
    if connection.closed:
        raise InvalidJob("connection is closed")
    return connection


def _put_through(
    middlewares: Sequence[PutMiddleware], draft: Draft, put: Callable[[Draft], int]
) -> int:
    """Put through the middlewares and return the job's id, whatever the middlewares return."""
    ids: list[int] = []

    def innermost(prepared: Draft) -> int:
        ids.append(put(prepared))
        return ids[-1]

    _fold(middlewares, innermost)(draft)
    if len(ids) != 1:
        raise InvalidJob(
            f"a middleware of queue {draft.queue_name!r} put the job {len(ids)} times, not once"
        )
    return ids[0]


def _draft_through(middlewares: Sequence[PutMiddleware], draft: Draft, what: str) -> Draft:
    """Return one of many drafts as the middlewares change it. Raises InvalidJob, naming it."""
    drafts: list[Draft] = []
    try:
        _fold(middlewares, drafts.append)(draft)
    except InvalidJob as error:
        raise type(error)(f"{what}: {error}") from None
    if len(drafts) != 1:
        raise InvalidJob(
            f"{what}: a middleware of queue {draft.queue_name!r} put it {len(drafts)} times, "
            "not once"
        )
    return drafts[0]


def _fold(
    middlewares: Sequence[PutMiddleware], put: Callable[[Draft], int | None]
) -> Callable[[Draft], int | None]:
    for middleware in reversed(middlewares):
        put = middleware(put)
    return put
