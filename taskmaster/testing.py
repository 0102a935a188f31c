"""Test your own callbacks without a database: a job as a worker would make it, and one run of it."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg

from taskmaster.chain import build, checked, innermost
from taskmaster.consumer import Callback, Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.imports import resolve_callable
from taskmaster.job import Job, Outcome
from taskmaster.plugins import middleware_factories, open_middleware
from taskmaster.validation import check_priority, check_queue_name, encode

__all__ = ["make_job", "run"]


@dataclass(frozen=True, slots=True)
class FakeJobContext:
    component: Any
    stopping: bool
    user_connection: psycopg.Connection[Any] | None = None

    @property
    def connection(self) -> psycopg.Connection[Any]:
        if self.user_connection is None:
            raise TaskmasterError("job.connection: give make_job or run a connection")
        return self.user_connection

    def progress(self, fraction: float, note: str) -> None:
        """Nobody watches."""


def make_job(
    payload: Any = None,
    *,
    queue_name: str = "test",
    id: int = 1,
    headers: Mapping[str, Any] | None = None,
    priority: int = 0,
    run_count: int = 1,
    component: Any = None,
    stopping: bool = False,
    connection: psycopg.Connection[Any] | None = None,
) -> Job:
    """A job as its callback sees it. Payload and headers go through JSON and back, as they do in production.

    Raises InvalidJob and InvalidPayload for what `put` would refuse.

    >>> make_job({"size": (3, 4)}).payload
    {'size': [3, 4]}
    """
    return Job(
        id=id,
        queue_name=check_queue_name(queue_name),
        payload=orjson.loads(encode(payload)),
        headers=None if headers is None else orjson.loads(encode(headers, what="headers")),
        priority=check_priority(priority),
        run_count=run_count,
        created_at=(now := datetime.now(UTC)),
        ready_at=now,
        context=FakeJobContext(component, stopping, connection),
    )


def run(
    consumer: Consumer | Callback, payload: Any = None, *, component: Any = None, **job: Any
) -> Outcome:
    """Run one job through the consumer's middlewares, component and callback, and answer its outcome.

    `component` stands in for the consumer's own; `job` holds further arguments of `make_job`. What the callback or a
    middleware raises comes out as it is; in a worker it would be a failed run. Raises InvalidOutcome for an answer
    that is no outcome.

    >>> run(lambda job: None, {"path": "a.jpg"})
    Ack()
    """
    if not isinstance(consumer, Consumer):
        consumer = Consumer("test", callback=consumer)
    where = f"consumer {consumer.queue_name!r}"
    callback = resolve_callable(consumer.callback, where=f"{where}: callback")
    factories = middleware_factories(
        consumer.middleware, where=f"{where}: middleware", queue_name=consumer.queue_name
    )
    with ExitStack() as stack:
        if component is None and consumer.component is not None:
            component = stack.enter_context(
                resolve_callable(consumer.component, where=f"{where}: component")()
            )
        middlewares = [open_middleware(factory, stack) for factory in factories]
        chain = build(middlewares, innermost(callback))
        outcome = chain(
            make_job(payload, component=component, **{"queue_name": consumer.queue_name, **job})
        )
        return checked(outcome, who="a middleware")
