"""Send errors, crashes and traces to Sentry. A slow or unreachable Sentry delays no job.

Sentry's SDK is set up in each worker, after the fork, with a thread of its own, unless the
application has set it up: then its client is used, with its `before_send`. Events wait in memory
and are dropped if there are too many. Events that a callback sends with `sentry_sdk` take the same
path.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import sentry_sdk
from sentry_sdk.client import BaseClient
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scope import Scope
from sentry_sdk.utils import Dsn

from taskmaster.errors import InvalidConfig
from taskmaster.failure import Failure
from taskmaster.import_path import own_modules_first
from taskmaster.job import Ack, Job, Outcome, Snooze
from taskmaster.middleware import (
    CrashReport,
    CrashReporter,
    Draft,
    Handler,
    Middleware,
    Put,
    PutMiddleware,
    define_middleware,
)

FLUSH_SECONDS = 2.0
DENIED = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "api_key", "apikey"),
    *("private_key", "privatekey", "authorization", "credential", "credit_card", "card_number"),
    *("cookie", "session", "csrf"),
)
FILTERED = "[Filtered]"
MAX_DEPTH = 20
TRACE_HEADERS = ("sentry-trace", "baggage")
HOST = socket.gethostname()

log = logging.getLogger("taskmaster.worker")


# -- the middleware


def put_linker(**options: Any) -> PutMiddleware:
    """Return a middleware that gives the job the trace of its put, if the put has one."""

    def middleware(put: Put) -> Put:
        def link_put(draft: Draft) -> int | None:
            if not sentry_sdk.get_client().is_active():
                return put(draft)
            with sentry_sdk.start_span(op="queue.publish", name=draft.queue_name) as span:
                span.set_data("messaging.destination.name", draft.queue_name)
                return put(_add_trace(draft))

        return link_put

    return middleware


@contextmanager
def crash_reporter(
    *, dsn: str, environment: str | None = None, release: str | None = None, **options: Any
) -> Iterator[CrashReporter]:
    """Yield a function that sends runs which ended with their worker, without the payload."""
    with _client(dsn=dsn, environment=environment, release=release):
        yield _send_crash


@define_middleware(put=put_linker, report_crashes=crash_reporter)
@contextmanager
def sentry(
    *,
    dsn: str,
    environment: str | None = None,
    release: str | None = None,
    traces_sample_rate: float | None = None,
    send_payload: bool = False,
    deny: Sequence[str] = DENIED,
) -> Iterator[Middleware]:
    """Send what a callback raises to Sentry, with its queue, job, run and worker.

    Each run has a scope of its own. Runs that ended with their worker are sent from another
    process, with cause and stack.

    - `dsn`, `environment` and `release` are as Sentry defines them. If the application has called
      `sentry_sdk.init` itself, its client is used as it is, and these are not.
    - `traces_sample_rate`, from 0 to 1, sends a transaction per run. It is linked to the put of a
      Publisher that knows the consumer.
    - `send_payload` sends the payload's values. By default only its keys are sent.
    - `deny` lists words. The value of a key that contains one is never sent.

    Events still unsent when the worker exits have two seconds. Raises InvalidConfig.

    >>> Consumer("mail", callback="mails:send", middleware=[
    ...     {"use": "sentry", "dsn": "https://…"},
    ... ])  # doctest: +SKIP
    """
    _check(dsn, traces_sample_rate, send_payload, deny)
    payload_filter = _PayloadFilter(send_payload, deny)

    def middleware(handler: Handler) -> Handler:
        def sentry_handler(job: Job) -> Outcome:
            with sentry_sdk.isolation_scope() as scope:
                _describe_job(scope, job, payload_filter)
                return _trace(handler, job) if traces_sample_rate else _capture(handler, job)

        return sentry_handler

    with _client(
        dsn=dsn, environment=environment, release=release, traces_sample_rate=traces_sample_rate
    ):
        yield middleware


# -- options


def _check(dsn: object, traces_sample_rate: Any, send_payload: object, deny: Any) -> None:
    if not isinstance(dsn, str) or not dsn:
        raise InvalidConfig(
            "middleware 'sentry': dsn must be the DSN of a project, as Sentry shows it"
        )
    try:
        Dsn(dsn)
    except ValueError as error:
        # The message is not shown, because it quotes the DSN, which holds a key.
        raise InvalidConfig(
            f"middleware 'sentry': dsn is not one that Sentry can read ({type(error).__name__})"
        ) from None
    if traces_sample_rate is not None and not _is_rate(traces_sample_rate):
        raise InvalidConfig(
            "middleware 'sentry': traces_sample_rate must be a number from 0 to 1, "
            f"got {traces_sample_rate!r}"
        )
    if not isinstance(send_payload, bool):
        raise InvalidConfig(
            f"middleware 'sentry': send_payload must be true or false, got {send_payload!r}"
        )
    is_list = isinstance(deny, Sequence) and not isinstance(deny, str)
    if not is_list or not all(isinstance(word, str) for word in deny):
        raise InvalidConfig(f"middleware 'sentry': deny must be a list of words, got {deny!r}")


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


# -- the client


@contextmanager
def _client(**options: Any) -> Iterator[None]:
    """Set up Sentry's SDK, unless the application has. At the end, send what is still unsent.

    The application may also do it later. Then its client takes the place of this one.
    """
    before = sentry_sdk.get_client()
    own = None if before.is_active() else _set_up(**options)
    if own is None and before.dsn != options["dsn"]:
        log.warning(
            "middleware 'sentry': the application has set up Sentry already, with another dsn or "
            "none: its client is used as it is"
        )
    ignore_logger("taskmaster.jobs")  # its lines may show payloads, and would become breadcrumbs
    try:
        yield
    finally:
        _flush(own)


@own_modules_first()  # the SDK imports what it finds of some fifty libraries
def _set_up(**options: Any) -> BaseClient:
    sentry_sdk.init(
        **options,
        include_local_variables=False,  # a payload is a local variable
        shutdown_timeout=FLUSH_SECONDS,
    )
    return sentry_sdk.get_client()


def _flush(own: BaseClient | None) -> None:
    """Wait for the unsent events. The application's client stays open, because it is not ours."""
    deadline = time.monotonic() + FLUSH_SECONDS
    current = sentry_sdk.get_client()
    if current is not own:
        current.flush(timeout=FLUSH_SECONDS)
    if own is not None:
        own.close(timeout=max(0.0, deadline - time.monotonic()))


# -- a run


def _capture(handler: Handler, job: Job) -> Outcome:
    try:
        return handler(job)
    except BaseException as error:  # sent and raised again
        sentry_sdk.capture_exception(error)
        raise


def _trace(handler: Handler, job: Job) -> Outcome:
    with _transaction(job) as span:
        outcome = _capture(handler, job)
        span.set_status("ok" if isinstance(outcome, Ack | Snooze) else "aborted")
        return outcome


def _transaction(job: Job) -> Any:
    headers = job.headers if isinstance(job.headers, Mapping) else {}  # SQL may put anything
    values = {name: headers.get(name) for name in TRACE_HEADERS}
    trace = {name: value for name, value in values.items() if isinstance(value, str)}
    transaction = sentry_sdk.continue_trace(
        trace, op="queue.process", name=job.queue_name, source="task"
    )
    transaction.set_data("messaging.destination.name", job.queue_name)
    transaction.set_data("messaging.message.id", str(job.id))
    transaction.set_data("messaging.message.retry.count", job.run_count - 1)
    return sentry_sdk.start_transaction(transaction)


def _describe_job(scope: Scope, job: Job, payload_filter: "_PayloadFilter") -> None:
    scope.clear_breadcrumbs()
    scope.set_transaction_name(job.queue_name, source="task")
    scope.set_tag("queue", job.queue_name)
    scope.set_tag("job", str(job.id))
    scope.set_tag("run", str(job.run_count))
    scope.fingerprint = ["{{ default }}", job.queue_name]
    scope.set_tag("worker", f"{HOST}:{os.getpid()}")

    def add_job(event: Any, hint: Any) -> Any:
        # Called only if something is sent, because filtering a large payload takes a while.
        event.setdefault("contexts", {})["job"] = {
            "id": job.id,
            "queue": job.queue_name,
            "run": job.run_count,
            "payload": payload_filter(job.payload),
        }
        return event

    scope.add_event_processor(add_job)


# -- a put


def _add_trace(draft: Draft) -> Draft:
    trace = {
        "sentry-trace": sentry_sdk.get_traceparent(),
        "baggage": sentry_sdk.get_baggage(),
    }
    headers = {name: value for name, value in trace.items() if value}
    return draft._replace(headers={**headers, **(draft.headers or {})}) if headers else draft


# -- a crash


def _send_crash(crash: CrashReport) -> None:
    failure = crash.failure
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("queue", crash.queue_name)
        scope.set_tag("job", str(crash.job))
        scope.set_tag("run", str(failure.run))
        scope.set_tag("cause", failure.cause)
        scope.set_tag("worker", failure.worker)
        scope.fingerprint = ["taskmaster crash", crash.queue_name, failure.cause]
        scope.set_context("run", {**msgspec.to_builtins(failure), "rejected": crash.rejected})
        sentry_sdk.capture_event(
            {
                "level": "fatal",
                "transaction": crash.queue_name,
                "exception": {"values": [{"type": failure.cause, "value": failure.message}]},
                "extra": _texts(failure),
            }
        )


def _texts(failure: Failure) -> dict[str, object]:
    texts = {
        "traceback": failure.traceback,
        "stdout": failure.stdout,
        "stderr": failure.stderr,
    }
    return {name: text for name, text in texts.items() if text}


# -- payloads


class _PayloadFilter:
    """Replace the parts of a payload that must not be sent."""

    def __init__(self, send_values: bool, deny: Sequence[str]) -> None:
        self._send_values = send_values
        self._deny = [_normalize(word) for word in deny]

    def __call__(self, payload: Any, depth: int = 0) -> Any:
        if depth == MAX_DEPTH:
            return FILTERED
        if isinstance(payload, Mapping):
            return {
                key: FILTERED if self._is_denied(key) else self(value, depth + 1)
                for key, value in payload.items()
            }
        if isinstance(payload, list):
            return [self(value, depth + 1) for value in payload]
        return payload if self._send_values else FILTERED

    def _is_denied(self, key: str) -> bool:
        normalized = _normalize(key)
        return any(word in normalized for word in self._deny)


def _normalize(word: str) -> str:
    """Return "API-Key" as "api_key"."""
    return word.casefold().replace("-", "_").replace(" ", "_")
