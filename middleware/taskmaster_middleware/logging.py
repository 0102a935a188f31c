"""Log one line per run, through the standard library's logger `taskmaster.jobs`."""

import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from logging import INFO, getLogger
from typing import Any, Literal, get_args

from taskmaster.errors import InvalidConfig
from taskmaster.job import Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware

Format = Literal["text", "json"]
Fields = dict[str, Any]
Report = Callable[[Job, float, Fields], None]

REDACTED = "[redacted]"
MAX_TEXT = 1_000  # characters of a reason
MAX_PAYLOAD = 10_000  # characters of a payload's JSON
MAX_DEPTH = 50  # levels of a payload

ACKED: Fields = {"outcome": "ack"}
BARE: Fields = {"bare": True}
SPECIAL = re.compile(r'[ "=\\]')

log = getLogger("taskmaster.jobs")


def logging(
    *, format: Format = "text", payload: bool = False, redact: Sequence[str] = ()
) -> Middleware:
    """Log each run at INFO when it ends: job, queue, number of the run, milliseconds, outcome.

    - `format` is "text" for key=value pairs, or "json" for an object. The object is the whole line
      unless the application set up logging itself.
    - `payload` adds the payload, without the values of the keys in `redact`, which match in upper
      and lower case and at any depth.

    Raises InvalidConfig if an option has another type.

    >>> Consumer("mail", callback="mails:send", middleware=[
    ...     {"use": "logging", "format": "json"},
    ... ])  # doctest: +SKIP
    """
    _check(format, payload, redact)
    report = _reporter(format, payload, redact)

    def middleware(handler: Handler) -> Handler:
        def logging_handler(job: Job) -> Outcome:
            started = time.perf_counter()
            try:
                outcome = handler(job)
            except BaseException as error:  # logged and raised again
                report(job, started, _error_fields(error))
                raise
            report(job, started, _outcome_fields(outcome))
            return outcome

        return logging_handler

    return middleware


def _reporter(format: Format, payload: bool, redact: Sequence[str]) -> Report:
    """Return the function that writes the line of one run."""
    write, extra = (_as_json, BARE) if format == "json" else (_as_text, None)
    hidden = frozenset(key.casefold() for key in redact)

    def report(job: Job, started: float, ending: Fields) -> None:
        if log.isEnabledFor(INFO):
            milliseconds = round((time.perf_counter() - started) * 1000, 3)
            if payload:
                ending = ending | {"payload": _limit(_redact(job.payload, hidden))}
            line = write(job, milliseconds, ending)
            # Not log.info, which would look for its caller: that takes as long as the line itself.
            log.handle(log.makeRecord(log.name, INFO, __file__, 0, line, (), None, "report", extra))

    return report


def _check(format: object, payload: object, redact: Any) -> None:
    if not isinstance(payload, bool):
        raise InvalidConfig(f"middleware 'logging': payload must be true or false, got {payload!r}")
    if format not in get_args(Format):
        raise InvalidConfig(
            f"middleware 'logging': format must be 'text' or 'json', got {format!r}"
        )
    is_list = isinstance(redact, Sequence) and not isinstance(redact, str)
    if not is_list or not all(isinstance(key, str) for key in redact):
        raise InvalidConfig(f"middleware 'logging': redact must be a list of keys, got {redact!r}")


# -- the end of a run


def _error_fields(error: BaseException) -> Fields:
    return {"outcome": "error", "error": type(error).__name__, "reason": _message(error)}


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_TEXT]
    except Exception as worse:  # noqa: BLE001 — the user's `__str__` must not cost the line
        return f"[{type(worse).__name__} in its __str__]"


def _outcome_fields(outcome: Outcome) -> Fields:
    if type(outcome) is Ack:  # as most are
        return ACKED
    fields: Fields = {"outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Retry | Snooze) and outcome.delay_seconds is not None:
        fields["delay_seconds"] = outcome.delay_seconds
    if isinstance(outcome, Reject | Retry):
        fields["reason"] = str(outcome.reason)[:MAX_TEXT]
    return fields


# -- payloads


def _redact(value: Any, hidden: frozenset[str], depth: int = 0) -> Any:
    """Return a copy without the values of the hidden keys."""
    if depth == MAX_DEPTH and isinstance(value, dict | list):
        return "[deeper]"
    if isinstance(value, dict):
        return {
            key: REDACTED if key.casefold() in hidden else _redact(inner, hidden, depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_redact(inner, hidden, depth + 1) for inner in value]
    return value


def _limit(value: Any) -> Any:
    """Return the payload, or its size if it is too long for a line."""
    length = len(json.dumps(value, default=str))
    return value if length <= MAX_PAYLOAD else f"[{length} characters]"


# -- lines


def _as_json(job: Job, milliseconds: float, ending: Fields) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    run = {
        "event": "run",
        "job": job.id,
        "queue": job.queue_name,
        "run": job.run_count,
        "ms": milliseconds,
    }
    # In ASCII, because some readers end a line at U+2028.
    return json.dumps({"at": at, **run, **ending}, default=str)


def _as_text(job: Job, milliseconds: float, ending: Fields) -> str:
    # The pairs that every run has are written at once: pair by pair takes twice the time.
    rest = "".join([f" {key}={_quote(value)}" for key, value in ending.items()])
    queue = _quote_text(job.queue_name)
    return f"event=run job={job.id} queue={queue} run={job.run_count} ms={milliseconds!r}{rest}"


def _quote(value: Any) -> str:
    return _quote_text(value if isinstance(value, str) else json.dumps(value, default=str))


@lru_cache(256)  # queues, outcomes and names of errors repeat
def _quote_text(text: str) -> str:
    """Return one plain word unchanged, and any other text as a JSON string on one line."""
    if text and text.isprintable() and not SPECIAL.search(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
