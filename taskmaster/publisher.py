"""What puts jobs: on a connection of its own, or inside the caller's transaction."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import psycopg

from taskmaster.consumer import Consumer
from taskmaster.errors import InvalidJob
from taskmaster.middleware import Draft, PutMiddleware
from taskmaster.plugins import put_middlewares
from taskmaster.session import Session
from taskmaster.store import jobs
from taskmaster.validation import (
    MAX_PAYLOAD_BYTES,
    check_delay,
    check_priority,
    check_queue_name,
    encode,
)


class Publisher:
    """Puts jobs. Opens its connection at the first put; may be shared by threads, and used after a fork.

    `database_url`: a libpq URL or conninfo; None: TASKMASTER_DATABASE_URL, else the embedded server in `.taskmaster/`.
    The schema is created at the first put when it is missing. `max_payload_bytes` bounds the encoded payload.
    `consumers`: what is put into their queues goes through their middlewares as far as those concern puts
    (`json_schema` checks, `tracing` and `sentry` link the run to the put), outermost first.

    >>> with Publisher("postgresql://…") as publisher:  # doctest: +SKIP
    ...     publisher.put("thumbnails", {"path": "a.jpg"}, priority=2, delay=30)
    1
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        schema: str = "taskmaster",
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        consumers: Sequence[Consumer] = (),
    ) -> None:
        self._session = Session(database_url, schema, migrating=True)
        self._schema = schema
        self._max_payload_bytes = max_payload_bytes
        self._consumers = {consumer.queue_name: consumer for consumer in consumers}
        self._wrappings: dict[str, Sequence[PutMiddleware]] = {}

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
        entry = _entry(queue_name, headers, priority, delay)
        draft = Draft(queue_name, payload, headers)
        if wrapping := self._wrapping(queue_name):
            return _wrapped(wrapping, draft, partial(self._put, entry, connection))
        return self._put(entry, connection, draft)

    def _put(
        self, entry: jobs.Entry, connection: psycopg.Connection[Any] | None, draft: Draft
    ) -> int:
        content = self._content(draft, "payload")
        if connection is not None:
            return jobs.put(connection, self._schema, entry, content)
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
        """Put many jobs by COPY, all or none, and return their ids in order. Otherwise like `put`.

        The payloads are read and sent in chunks. A payload that is refused is named by its number, from 0.
        """
        entry = _entry(queue_name, headers, priority, delay)
        contents = self._contents(queue_name, payloads, headers)
        if connection is not None:
            return jobs.put_many(connection, self._schema, entry, contents)
        with self._session.use() as conn:
            return jobs.put_many(conn, self._schema, entry, contents)

    def _contents(
        self, queue_name: str, payloads: Iterable[Any], headers: Mapping[str, Any] | None
    ) -> Iterator[jobs.Content]:
        wrapping = self._wrapping(queue_name)
        shared = self._headers(headers)
        for number, payload in enumerate(payloads):
            what = f"payload {number}"
            if wrapping:
                yield self._content(
                    _drafted(wrapping, Draft(queue_name, payload, headers), what), what
                )
            else:
                yield encode(payload, what=what, max_bytes=self._max_payload_bytes), shared

    def _content(self, draft: Draft, what: str) -> jobs.Content:
        if not isinstance(draft, Draft):
            raise InvalidJob(f"the {what}: a middleware put {draft!r:.100}, which is no Draft")
        return encode(draft.payload, what=what, max_bytes=self._max_payload_bytes), self._headers(
            draft.headers
        )

    def _headers(self, headers: Mapping[str, Any] | None) -> bytes | None:
        return (
            None
            if headers is None
            else encode(dict(headers), what="headers", max_bytes=self._max_payload_bytes)
        )

    def _wrapping(self, queue_name: str) -> Sequence[PutMiddleware]:
        """What wraps puts into this queue, imported at the first one. Raises InvalidConfig."""
        if queue_name not in self._consumers:
            return ()
        if queue_name not in self._wrappings:
            consumer = self._consumers[queue_name]
            where = f"consumer {queue_name!r}: middleware"
            self._wrappings[queue_name] = put_middlewares(consumer.middleware, where=where)
        return self._wrappings[queue_name]

    def close(self) -> None:
        """Close the connection; a later put opens another."""
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
        raise InvalidJob(f"headers must be a mapping, got {headers!r:.100}")
    return jobs.Entry(check_queue_name(queue_name), check_priority(priority), check_delay(delay))


def _wrapped(wrapping: Sequence[PutMiddleware], draft: Draft, put: Callable[[Draft], int]) -> int:
    """Put through the middlewares; the id that the innermost has seen, whatever they answer."""
    ids: list[int] = []

    def innermost(prepared: Draft) -> int:
        ids.append(put(prepared))
        return ids[-1]

    _through(wrapping, innermost)(draft)
    if len(ids) != 1:
        raise InvalidJob(
            f"a middleware of queue {draft.queue_name!r} put the job {len(ids)} times, not once"
        )
    return ids[0]


def _drafted(wrapping: Sequence[PutMiddleware], draft: Draft, what: str) -> Draft:
    """One of many, as the middlewares would have it put. Raises InvalidJob, naming it."""
    drafts: list[Draft] = []
    try:
        _through(wrapping, drafts.append)(draft)
    except InvalidJob as error:
        raise type(error)(f"{what}: {error}") from None
    if len(drafts) != 1:
        raise InvalidJob(
            f"{what}: a middleware of queue {draft.queue_name!r} put it {len(drafts)} times, not once"
        )
    return drafts[0]


def _through(
    wrapping: Sequence[PutMiddleware], put: Callable[[Draft], int | None]
) -> Callable[[Draft], int | None]:
    for middleware in reversed(wrapping):
        put = middleware(put)
    return put
