"""One line per run, through the standard library's logger `taskmaster.jobs`."""

import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from logging import INFO, getLogger
from typing import Any, Literal, get_args

from taskmaster.errors import InvalidConfig
from taskmaster.job import Ack, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Handler, Middleware

Format = Literal["text", "json"]
Fields = dict[str, Any]

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
    """Log each run at INFO when it ends: job, queue, outcome, milliseconds, number of the run.

    `format`: key=value pairs, or a JSON object, which is the whole line unless logging was set up in another way.
    `payload`: show it, with the values of the keys in `redact` (in upper or lower case, at any depth) left out.
    Raises InvalidConfig.

    >>> Consumer("mail", callback="mails:send", middleware=[{"use": "logging", "format": "json"}])  # doctest: +SKIP
    """
    _check(format, payload, redact)
    write, extra = (_as_json, BARE) if format == "json" else (_as_text, None)
    hidden = frozenset(key.casefold() for key in redact)

    def report(job: Job, started: float, ending: Fields) -> None:
        if log.isEnabledFor(INFO):
            milliseconds = round((time.perf_counter() - started) * 1000, 3)
            if payload:
                ending = ending | {"payload": _bounded(_redacted(job.payload, hidden))}
            line = write(job, milliseconds, ending)
            # Not log.info: who has called is known, and to find it out takes as long as to write the line.
            log.handle(log.makeRecord(log.name, INFO, __file__, 0, line, (), None, "report", extra))

    def middleware(handler: Handler) -> Handler:
        def logged(job: Job) -> Outcome:
            started = time.perf_counter()
            try:
                outcome = handler(job)
            except BaseException as error:  # only seen, never kept
                report(
                    job,
                    started,
                    {"outcome": "error", "error": type(error).__name__, "reason": _message(error)},
                )
                raise
            report(job, started, _outcome(outcome))
            return outcome

        return logged

    return middleware


def _check(format: object, payload: object, redact: object) -> None:
    if not isinstance(payload, bool):
        raise InvalidConfig(f"middleware 'logging': payload must be true or false, got {payload!r}")
    if format not in get_args(Format):
        raise InvalidConfig(
            f"middleware 'logging': format must be 'text' or 'json', got {format!r}"
        )
    if (
        isinstance(redact, str)
        or not isinstance(redact, Sequence)
        or not all(isinstance(key, str) for key in redact)
    ):
        raise InvalidConfig(f"middleware 'logging': redact must be a list of keys, got {redact!r}")


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_TEXT]
    except Exception as worse:  # noqa: BLE001 — the user's `__str__`: the line is worth more than what it says
        return f"[{type(worse).__name__} in its __str__]"


def _outcome(outcome: Outcome) -> Fields:
    if type(outcome) is Ack:  # most are
        return ACKED
    fields: Fields = {"outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Retry | Snooze) and outcome.delay_seconds is not None:
        fields["delay_seconds"] = outcome.delay_seconds
    if isinstance(outcome, Reject | Retry):
        fields["reason"] = str(outcome.reason)[:MAX_TEXT]
    return fields


# -- payloads


def _redacted(value: Any, hidden: frozenset[str], depth: int = 0) -> Any:
    if depth == MAX_DEPTH and isinstance(value, dict | list):
        return "[deeper]"
    if isinstance(value, dict):
        return {
            key: REDACTED if key.casefold() in hidden else _redacted(inner, hidden, depth + 1)
            for key, inner in value.items()
        }
    return (
        [_redacted(inner, hidden, depth + 1) for inner in value]
        if isinstance(value, list)
        else value
    )


def _bounded(value: Any) -> Any:
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
    return json.dumps(
        {"at": at, **run, **ending}, default=str
    )  # in ASCII: some readers end a line at U+2028


def _as_text(job: Job, milliseconds: float, ending: Fields) -> str:
    """What each run has is written at once: pair by pair takes twice the time."""
    rest = "".join([f" {key}={_quoted(value)}" for key, value in ending.items()])
    return f"event=run job={job.id} queue={_plain(job.queue_name)} run={job.run_count} ms={milliseconds!r}{rest}"


def _quoted(value: Any) -> str:
    return _plain(value if isinstance(value, str) else json.dumps(value, default=str))


@lru_cache(256)  # queues, outcomes and names of errors come again and again
def _plain(text: str) -> str:
    """The text as it is when it is one plain word, else as a JSON string, which cannot break the line."""
    if text and text.isprintable() and not SPECIAL.search(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
