"""The record that a job keeps of each failed run, and how exceptions are put into words."""

import socket
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

HOST = socket.gethostname()
OWN = str(Path(__file__).parent)
UNKNOWN_CAUSE = "unknown"
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 16_000


class Progress(NamedTuple):
    """The progress of a run: a fraction from 0 to 1, and a note in words."""

    fraction: float
    note: str


class Used(NamedTuple):
    """The resources and output of a run, and the progress that it reported."""

    cpu_seconds: float
    peak_memory_mb: float
    stdout: str = ""
    stderr: str = ""
    progress: Progress | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of one failed run, as the job's history keeps it.

    `cause` is one of: exception, retry, rejected, timeout, memory limit, cpu limit, out of memory,
    signal NAME, exit code N, lost database, lost host, shutdown. `run` is 1 for the first run.
    `worker` is "host:pid of its supervisor:serial number". `at` is when the run ended, in ISO 8601
    with the offset from UTC. `peak_memory_mb` is the worker's, over its life. `progress` is from 0
    to 1. `stdout` and `stderr` are the last 4 kB that the run printed.

    A field that was not recorded has its default: 0 for `run`, "" for texts and None otherwise.

    >>> Failure(cause="rejected", message="no such file", run=1).message
    'no such file'
    """

    cause: str
    message: str
    run: int = 0
    worker: str = ""
    host: str = ""
    duration_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    at: str = ""
    progress: float | None = None
    progress_note: str | None = None
    traceback: str = ""
    stdout: str = ""
    stderr: str = ""


def parse_failures(value: object) -> list[Failure]:
    """Return a job's history, given as decoded JSON. It never raises, whatever SQL put there."""
    if value is None:
        return []
    return [parse_failure(entry) for entry in (value if isinstance(value, list) else [value])]


def parse_failure(entry: object) -> Failure:
    """Return one record of a history, given as decoded JSON. It never raises.

    Fields that are missing or of another type have their defaults.
    """
    if not isinstance(entry, dict):
        return Failure(cause=UNKNOWN_CAUSE, message=str(entry))
    try:
        return msgspec.convert(entry, Failure)
    except msgspec.ValidationError:
        return Failure(**{"cause": UNKNOWN_CAUSE, "message": "", **_readable_fields(entry)})


def _readable_fields(entry: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(Failure):
        with suppress(KeyError, msgspec.ValidationError):
            found[field.name] = msgspec.convert(entry[field.name], field.type)
    return found


def make_failure(
    cause: str,
    message: str,
    *,
    run: int,
    worker: str,
    duration_seconds: float,
    used: Used,
    traceback: str | None = None,
) -> Failure:
    """Return the record of a run that has just failed.

    Texts are cut to a bounded length and made storable: no NUL, no lone surrogate.
    """
    progress = used.progress
    return Failure(
        cause=cause,
        message=_storable(message, MAX_MESSAGE),
        run=run,
        worker=worker,
        host=HOST,
        duration_seconds=round(duration_seconds, 6),
        cpu_seconds=round(max(0.0, used.cpu_seconds), 3),
        peak_memory_mb=round(used.peak_memory_mb, 1),
        at=datetime.now(UTC).isoformat(),
        progress=None if progress is None else progress.fraction,
        progress_note=None if progress is None else progress.note,
        traceback=_storable(traceback or "", MAX_TRACEBACK),
        stdout=_storable(used.stdout, MAX_TRACEBACK),
        stderr=_storable(used.stderr, MAX_TRACEBACK),
    )


# -- exceptions in words


def describe(error: BaseException) -> str:
    """Return type and message of an exception, even if its own `__str__` raises."""
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except BaseException as worse:  # noqa: BLE001 — SystemExit too: the settlement must not be lost
        return f"{type(error).__name__}, which cannot be written ({type(worse).__name__})"


def text_of(reason: object) -> str:
    """Return the reason of an outcome as text, even if its `__str__` raises."""
    try:
        return str(reason)
    except BaseException as error:  # noqa: BLE001 — SystemExit too: the settlement must not be lost
        return f"a {type(reason).__name__} that cannot be written: {describe(error)}"


def stack(error: BaseException) -> str:
    """Return the traceback without the outer frames of taskmaster's own code."""
    frames = error.__traceback__
    while (
        frames is not None
        and frames.tb_next is not None
        and frames.tb_frame.f_code.co_filename.startswith(OWN)
    ):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except BaseException:  # noqa: BLE001 — as above
        return "".join([*traceback.format_tb(frames), describe(error)])


def _storable(text: str, limit: int) -> str:
    if len(text) > limit:  # the end of a traceback says more than its middle
        text = f"{text[: limit // 4]}\n…\n{text[-(limit - limit // 4) :]}"
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
