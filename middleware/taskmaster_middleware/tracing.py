"""OpenTelemetry: one trace from the put to the run, whatever SDK the user has set up.

Needs the extra: pip install 'taskmaster-pg[tracing]'. The trace context travels in the job's headers, as W3C writes it.
Names follow OpenTelemetry's semantic conventions for messaging.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from taskmaster.errors import InvalidConfig
from taskmaster.imports import resolve_callable
from taskmaster.job import Ack, Job, Outcome, Snooze
from taskmaster.middleware import (
    Draft,
    Handler,
    Middleware,
    Put,
    PutMiddleware,
    define_middleware,
)

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError:
    raise InvalidConfig(
        "middleware 'tracing' needs the package opentelemetry-api: pip install 'taskmaster-pg[tracing]'"
    ) from None

FLUSH_SECONDS = 2.0
SYSTEM = "taskmaster"
SetUp = Callable[[], object]


def wrap_put(**options: Any) -> PutMiddleware:
    """A producer span around a put. The SDK is the caller's."""
    return _around_puts


@define_middleware(put=wrap_put)
@contextmanager
def tracing(*, setup: str | SetUp | None = None) -> Iterator[Middleware]:
    """A consumer span around each run, child of the span of its put when its headers carry one.

    `setup`: a function, or "module:name", called in each worker after the fork to set up the SDK: its exporters have
    threads, which no fork copies. It may return a context manager. None: the component has done it, or nobody.
    Wraps puts of a Publisher that knows the consumer too: a producer span, whose context goes into the headers.
    What waits to be exported when the worker leaves has two seconds. Raises InvalidConfig.

    >>> Consumer("mail", callback="mails:send", middleware=[{"use": "tracing", "setup": "telemetry:set_up"}])
    ... # doctest: +SKIP
    """
    with ExitStack() as stack:
        if setup is not None:
            made = _called(resolve_callable(setup, where="middleware 'tracing': setup"))
            if isinstance(made, AbstractContextManager):
                stack.enter_context(made)
        stack.callback(_flush)
        yield _around_runs


def _called(setup: Callable[[], object]) -> object:
    try:
        return setup()
    except Exception as error:
        raise InvalidConfig(
            f"middleware 'tracing': setup raised {type(error).__name__}: {error}"
        ) from error


def _around_runs(handler: Handler) -> Handler:
    tracer = trace.get_tracer("taskmaster")

    def traced(job: Job) -> Outcome:
        headers = job.headers if isinstance(job.headers, Mapping) else {}  # SQL may put anything
        carried = {name: value for name, value in headers.items() if isinstance(value, str)}
        attributes = _attributes("process", job.queue_name) | {
            "messaging.message.id": str(job.id),
            "taskmaster.job.run": job.run_count,
        }
        with tracer.start_as_current_span(
            f"process {job.queue_name}",
            context=propagate.extract(carried),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
        ) as span:
            try:
                outcome = handler(job)
            except BaseException as error:  # only seen, never kept
                span.set_attribute("taskmaster.job.outcome", "error")
                span.set_attribute("error.type", type(error).__qualname__)
                raise
            span.set_attribute("taskmaster.job.outcome", type(outcome).__name__.lower())
            if not isinstance(outcome, Ack | Snooze):
                span.set_status(StatusCode.ERROR, str(outcome)[:200])
            return outcome

    return traced


def _around_puts(put: Put) -> Put:
    def traced(draft: Draft) -> int | None:
        tracer = trace.get_tracer("taskmaster")
        attributes = _attributes("send", draft.queue_name)
        with tracer.start_as_current_span(
            f"send {draft.queue_name}", kind=SpanKind.PRODUCER, attributes=attributes
        ) as span:
            carried: dict[str, str] = {}
            propagate.inject(carried)
            job_id = put(
                draft._replace(headers={**carried, **(draft.headers or {})}) if carried else draft
            )
            if job_id is not None:
                span.set_attribute("messaging.message.id", str(job_id))
            return job_id

    return traced


def _attributes(operation: str, queue_name: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue_name,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _flush() -> None:
    """The API has no flush; every SDK's provider has this one. Some do not heed their own bound: then nobody waits."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flushing = threading.Thread(target=flush, args=(int(FLUSH_SECONDS * 1000),), daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
