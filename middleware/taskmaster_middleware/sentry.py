"""Errors, crashes and traces for Sentry. A slow or dead Sentry delays nothing: events wait in memory, and are dropped.

Sentry's SDK is set up in each worker, after the fork, with a thread of its own. What callbacks send with `sentry_sdk`
goes the same way.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scope import Scope

from taskmaster.errors import InvalidConfig
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
    "password", "passwd", "passphrase", "pwd", "secret", "token", "api_key", "apikey", "private_key", "privatekey",
    "authorization", "credential", "credit_card", "card_number", "cookie", "session", "csrf",
)  # fmt: skip
FILTERED = "[Filtered]"
MOST_DEEP = 20
TRACE_HEADERS = ("sentry-trace", "baggage")
HOST = socket.gethostname()


def wrap_put(**options: Any) -> PutMiddleware:
    """Give the job the trace of whoever puts it, when that has one."""

    def middleware(put: Put) -> Put:
        def linked(draft: Draft) -> int | None:
            if not sentry_sdk.get_client().is_active():
                return put(draft)
            with sentry_sdk.start_span(op="queue.publish", name=draft.queue_name) as span:
                span.set_data("messaging.destination.name", draft.queue_name)
                trace = {
                    "sentry-trace": sentry_sdk.get_traceparent(),
                    "baggage": sentry_sdk.get_baggage(),
                }
                known = {name: value for name, value in trace.items() if value}
                return put(
                    draft._replace(headers={**known, **(draft.headers or {})}) if known else draft
                )

        return linked

    return middleware


@contextmanager
def report_crashes(
    *, dsn: str, environment: str | None = None, release: str | None = None, **of_runs: Any
) -> Iterator[CrashReporter]:
    """Send what no worker could send: it was killed. The payload is not known here."""
    _set_up(dsn, environment, release, None)
    try:
        yield _send
    finally:
        sentry_sdk.get_client().close(timeout=FLUSH_SECONDS)


@define_middleware(put=wrap_put, report_crashes=report_crashes)
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
    """Send what a callback raises to Sentry, with its queue, job, run and worker; each run has a scope of its own.

    Of the payload only the keys are sent; `send_payload`: the values too, but for keys that contain a word of `deny`.
    `traces_sample_rate` (0 to 1): a transaction per run, linked to the put of a Publisher that knows the consumer.
    Runs that were killed with their worker are sent from another process, with cause and stack.
    What waits to be sent when the worker leaves has two seconds. Raises InvalidConfig.

    >>> Consumer("mail", callback="mails:send", middleware=[{"use": "sentry", "dsn": "https://…"}])  # doctest: +SKIP
    """
    _check(dsn, traces_sample_rate, send_payload, deny)
    shown = _Shown(send_payload, deny)
    _set_up(dsn, environment, release, traces_sample_rate)

    def middleware(handler: Handler) -> Handler:
        def reported(job: Job) -> Outcome:
            with sentry_sdk.isolation_scope() as scope:
                _describe(scope, job, shown)
                if not traces_sample_rate:
                    return _run(handler, job)
                with _transaction(job) as span:
                    outcome = _run(handler, job)
                    span.set_status("ok" if isinstance(outcome, Ack | Snooze) else "aborted")
                    return outcome

        return reported

    try:
        yield middleware
    finally:
        sentry_sdk.get_client().close(timeout=FLUSH_SECONDS)


def _check(dsn: object, traces_sample_rate: object, send_payload: object, deny: object) -> None:
    if not isinstance(dsn, str) or not dsn:
        raise InvalidConfig(
            "middleware 'sentry': dsn must be the DSN of a project, as Sentry shows it"
        )
    if traces_sample_rate is not None and (
        isinstance(traces_sample_rate, bool)
        or not isinstance(traces_sample_rate, int | float)
        or not 0 <= traces_sample_rate <= 1
    ):
        raise InvalidConfig(
            f"middleware 'sentry': traces_sample_rate must be a number from 0 to 1, got {traces_sample_rate!r}"
        )
    if not isinstance(send_payload, bool):
        raise InvalidConfig(
            f"middleware 'sentry': send_payload must be true or false, got {send_payload!r}"
        )
    if (
        isinstance(deny, str)
        or not isinstance(deny, Sequence)
        or not all(isinstance(word, str) for word in deny)
    ):
        raise InvalidConfig(f"middleware 'sentry': deny must be a list of words, got {deny!r}")


def _set_up(
    dsn: str, environment: str | None, release: str | None, traces_sample_rate: float | None
) -> None:
    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=release,
            traces_sample_rate=traces_sample_rate,
            include_local_variables=False,  # a payload is a local variable
            shutdown_timeout=FLUSH_SECONDS,
        )
        ignore_logger(
            "taskmaster.jobs"
        )  # its lines may show payloads, and breadcrumbs would carry them
    except (
        ValueError,
        TypeError,
    ) as error:  # BadDsn is one; the DSN itself holds a key, and is not shown
        raise InvalidConfig(
            f"middleware 'sentry': dsn is none that Sentry can read ({type(error).__name__})"
        ) from None


# -- a run


def _run(handler: Handler, job: Job) -> Outcome:
    try:
        return handler(job)
    except BaseException as error:  # only seen, never kept
        sentry_sdk.capture_exception(error)
        raise


def _describe(scope: Scope, job: Job, shown: "_Shown") -> None:
    scope.clear_breadcrumbs()
    scope.set_transaction_name(job.queue_name, source="task")
    scope.set_tag("queue", job.queue_name)
    scope.set_tag("job", str(job.id))
    scope.set_tag("run", str(job.run_count))
    scope.fingerprint = ["{{ default }}", job.queue_name]
    scope.set_tag("worker", f"{HOST}:{os.getpid()}")

    def described(event: Any, hint: Any) -> Any:
        """Only when something is sent: to scrub a large payload takes a while."""
        told = {
            "id": job.id,
            "queue": job.queue_name,
            "run": job.run_count,
            "payload": shown(job.payload),
        }
        event.setdefault("contexts", {})["job"] = told
        return event

    scope.add_event_processor(described)


def _transaction(job: Job) -> Any:
    headers = job.headers if isinstance(job.headers, Mapping) else {}  # SQL may put anything
    carried = {name: headers.get(name) for name in TRACE_HEADERS}
    trace = {name: value for name, value in carried.items() if isinstance(value, str)}
    transaction = sentry_sdk.continue_trace(
        trace, op="queue.process", name=job.queue_name, source="task"
    )
    transaction.set_data("messaging.destination.name", job.queue_name)
    transaction.set_data("messaging.message.id", str(job.id))
    transaction.set_data("messaging.message.retry.count", job.run_count - 1)
    return sentry_sdk.start_transaction(transaction)


# -- a crash


def _send(crash: CrashReport) -> None:
    record = crash.failure
    with sentry_sdk.isolation_scope() as scope:
        for tag, value in (
            ("queue", crash.queue_name),
            ("job", str(crash.job)),
            ("run", str(record.run)),
        ):
            scope.set_tag(tag, value)
        scope.set_tag("cause", record.cause)
        scope.set_tag("worker", record.worker)
        scope.fingerprint = ["taskmaster crash", crash.queue_name, record.cause]
        scope.set_context("run", {**msgspec.to_builtins(record), "rejected": crash.rejected})
        sentry_sdk.capture_event(
            {
                "level": "fatal",
                "transaction": crash.queue_name,
                "exception": {"values": [{"type": record.cause, "value": record.message}]},
                "extra": {
                    name: text
                    for name in ("traceback", "stdout", "stderr")
                    if (text := getattr(record, name))
                },
            }
        )


# -- payloads


class _Shown:
    """What of a payload may be sent."""

    def __init__(self, values: bool, deny: Sequence[str]) -> None:
        self._values = values
        self._deny = [_plain(word) for word in deny]

    def __call__(self, payload: Any, depth: int = 0) -> Any:
        if depth == MOST_DEEP:
            return FILTERED
        if isinstance(payload, Mapping):
            return {
                key: FILTERED if self._denied(key) else self(value, depth + 1)
                for key, value in payload.items()
            }
        if isinstance(payload, list):
            return [self(value, depth + 1) for value in payload]
        return payload if self._values else FILTERED

    def _denied(self, key: str) -> bool:
        plain = _plain(key)
        return any(word in plain for word in self._deny)


def _plain(word: str) -> str:
    """ "API-Key" is "api_key"."""
    return word.casefold().replace("-", "_").replace(" ", "_")
