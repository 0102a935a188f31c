"""Test callbacks without a database: make a job as a worker would, and run it once."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg

from taskmaster.chain import build, check_outcome, innermost
from taskmaster.consumer import Callback, Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.imports import resolve_callable
from taskmaster.job import Job, Outcome
from taskmaster.plugins import middleware_factories, open_middleware
from taskmaster.validation import check_priority, check_queue_name, encode

__all__ = ["make_job", "run"]


@dataclass(frozen=True, slots=True)
class FakeJobContext:
    """A JobContext that needs no worker."""

    component: Any
    stopping: bool
    user_connection: psycopg.Connection[Any] | None = None

    @property
    def connection(self) -> psycopg.Connection[Any]:
        if self.user_connection is None:
            raise TaskmasterError("job.connection: pass a connection to make_job or run")
        return self.user_connection

    def progress(self, fraction: float, note: str) -> None:
        """Ignore the progress."""


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
    """Return a job as its callback sees it.

    Payload and headers are encoded as JSON and decoded, as they are in production. `component`,
    `stopping` and `connection` are what the job's attributes of these names return.

    Raises InvalidJob and InvalidPayload for arguments that `put` would refuse.

    >>> make_job({"size": (3, 4)}).payload
    {'size': [3, 4]}
    """
    now = datetime.now(UTC)
    return Job(
        id=id,
        queue_name=check_queue_name(queue_name),
        payload=orjson.loads(encode(payload)),
        headers=None if headers is None else orjson.loads(encode(headers, what="headers")),
        priority=check_priority(priority),
        run_count=run_count,
        created_at=now,
        ready_at=now,
        context=FakeJobContext(component, stopping, connection),
    )


def run(
    consumer: Consumer | Callback, payload: Any = None, *, component: Any = None, **job: Any
) -> Outcome:
    """Run one job through the consumer's middlewares, component and callback.

    `component` replaces the consumer's own. `job` holds further arguments of `make_job`.

    Returns the outcome. An exception of the callback or a middleware is not caught. In a worker it
    would be a failed run. Raises InvalidOutcome if the result is not an outcome, and InvalidConfig
    if the consumer names something that cannot be imported.

    >>> run(lambda job: print(job.payload["path"]), {"path": "a.jpg"})
    a.jpg
    Ack()
    """
    if not isinstance(consumer, Consumer):
        consumer = Consumer("test", callback=consumer)
    where, queue_name = f"consumer {consumer.queue_name!r}", consumer.queue_name
    callback = resolve_callable(consumer.callback, where=f"{where}: callback")
    factories = middleware_factories(
        consumer.middleware, where=f"{where}: middleware", queue_name=queue_name
    )
    with ExitStack() as stack:
        if component is None and consumer.component is not None:
            open_component = resolve_callable(consumer.component, where=f"{where}: component")
            component = stack.enter_context(open_component())
        middlewares = [open_middleware(factory, stack) for factory in factories]
        chain = build(middlewares, innermost(callback))
        outcome = chain(make_job(payload, component=component, **{"queue_name": queue_name, **job}))
        return check_outcome(outcome, returned_by="a middleware")
