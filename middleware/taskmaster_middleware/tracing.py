"""Trace jobs with OpenTelemetry, from the put to the run, with the SDK that the user has set up.

Needs the extra: pip install 'taskmaster-pg[tracing]'. The trace context travels in the job's
headers, in W3C's format. Names follow OpenTelemetry's semantic conventions for messaging.
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
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ImportError:
    raise InvalidConfig(
        "middleware 'tracing' needs the package opentelemetry-api: "
        "pip install 'taskmaster-pg[tracing]'"
    ) from None

FLUSH_SECONDS = 2.0
SYSTEM = "taskmaster"
SetUp = Callable[[], object]


def put_tracer(**options: Any) -> PutMiddleware:
    """Return the producer span around puts. The SDK is the caller's."""
    return _trace_puts


@define_middleware(put=put_tracer)
@contextmanager
def tracing(*, setup: str | SetUp | None = None) -> Iterator[Middleware]:
    """Open a consumer span around each run, a child of its put's span if the headers have one.

    `setup` is a function, or "module:name". It is called in each worker after the fork to set up
    the SDK, whose exporters have threads, which no fork copies. It may return a context manager. If
    it is None, the consumer's component has to set up the SDK.

    The puts of a Publisher that knows the consumer have a producer span, whose context goes into
    the headers. Spans still unsent when the worker exits have two seconds. Raises InvalidConfig.

    >>> Consumer("mail", callback="mails:send", middleware=[
    ...     {"use": "tracing", "setup": "telemetry:set_up"},
    ... ])  # doctest: +SKIP
    """
    with ExitStack() as stack:
        if setup is not None:
            made = _call(resolve_callable(setup, where="middleware 'tracing': setup"))
            if isinstance(made, AbstractContextManager):
                stack.enter_context(made)
        stack.callback(_flush)
        yield _trace_runs


def _call(setup: Callable[[], object]) -> object:
    try:
        return setup()
    except Exception as error:
        raise InvalidConfig(
            f"middleware 'tracing': setup raised {type(error).__name__}: {error}"
        ) from error


# -- runs


def _trace_runs(handler: Handler) -> Handler:
    tracer = trace.get_tracer("taskmaster")

    def tracing_handler(job: Job) -> Outcome:
        with tracer.start_as_current_span(
            f"process {job.queue_name}",
            context=propagate.extract(_headers(job)),
            kind=SpanKind.CONSUMER,
            attributes=_run_attributes(job),
        ) as span:
            try:
                outcome = handler(job)
            except BaseException as error:  # noted and raised again
                span.set_attribute("taskmaster.job.outcome", "error")
                span.set_attribute("error.type", type(error).__qualname__)
                raise
            _note_outcome(span, outcome)
            return outcome

    return tracing_handler


def _headers(job: Job) -> dict[str, str]:
    headers = job.headers if isinstance(job.headers, Mapping) else {}  # SQL may put anything
    return {name: value for name, value in headers.items() if isinstance(value, str)}


def _run_attributes(job: Job) -> dict[str, Any]:
    return _attributes("process", job.queue_name) | {
        "messaging.message.id": str(job.id),
        "taskmaster.job.run": job.run_count,
    }


def _note_outcome(span: Span, outcome: Outcome) -> None:
    span.set_attribute("taskmaster.job.outcome", type(outcome).__name__.lower())
    if not isinstance(outcome, Ack | Snooze):
        span.set_status(StatusCode.ERROR, str(outcome)[:200])


# -- puts


def _trace_puts(put: Put) -> Put:
    def trace_put(draft: Draft) -> int | None:
        with trace.get_tracer("taskmaster").start_as_current_span(
            f"send {draft.queue_name}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes("send", draft.queue_name),
        ) as span:
            job_id = put(_add_context(draft))
            if job_id is not None:
                span.set_attribute("messaging.message.id", str(job_id))
            return job_id

    return trace_put


def _add_context(draft: Draft) -> Draft:
    context: dict[str, str] = {}
    propagate.inject(context)
    return draft._replace(headers={**context, **(draft.headers or {})}) if context else draft


# -- both


def _attributes(operation: str, queue_name: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue_name,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _flush() -> None:
    """Flush the SDK's provider. The API has no flush, but every provider has this one.

    Some providers ignore the timeout, so the wait has one of its own.
    """
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flushing = threading.Thread(target=flush, args=(int(FLUSH_SECONDS * 1000),), daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
