"""The record that a job keeps of each run that went wrong: what happened, where, on which run, for how long."""

import socket
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from taskmaster.settlement import Failure

HOST = socket.gethostname()
OWN = str(Path(__file__).parent)
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 16_000


class Progress(NamedTuple):
    """The progress of a run: a fraction from 0 to 1, and a note in words."""

    fraction: float
    note: str


class Used(NamedTuple):
    """What is known of a run beside how it ended: what it used, printed and said of its progress."""

    cpu_seconds: float
    peak_memory_mb: float
    stdout: str = ""
    stderr: str = ""
    progress: Progress | None = None


def failure(
    cause: str,
    message: str,
    *,
    run: int,
    worker: str,
    duration_seconds: float,
    used: Used,
    traceback: str | None = None,
) -> Failure:
    """One record. Text is cut to a bounded length, and made storable: no NUL, no lone surrogate.

    `cause` is one of: exception, retry, rejected, timeout, memory limit, cpu limit, out of memory, signal NAME,
    exit code N, lost database, lost host, shutdown. `peak_memory_mb` is the worker's, over its life.
    """
    record: dict[str, Any] = {
        "cause": cause,
        "message": _storable(message, MAX_MESSAGE),
        "run": run,
        "worker": worker,
        "host": HOST,
        "duration_seconds": round(duration_seconds, 6),
        "cpu_seconds": round(max(0.0, used.cpu_seconds), 3),
        "peak_memory_mb": round(used.peak_memory_mb, 1),
        "at": datetime.now(UTC).isoformat(),
    }
    if used.progress is not None:
        record |= {"progress": used.progress.fraction, "progress_note": used.progress.note}
    texts = {"traceback": traceback, "stdout": used.stdout, "stderr": used.stderr}
    return record | {name: _storable(text, MAX_TRACEBACK) for name, text in texts.items() if text}


def describe(error: BaseException) -> str:
    """Type and message of an exception, even of one whose own `__str__` raises."""
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except BaseException as worse:  # noqa: BLE001 — SystemExit too: the job's ending must not be lost for it
        return f"{type(error).__name__}, which cannot be written ({type(worse).__name__})"


def text_of(reason: object) -> str:
    """The reason that an outcome gives; it is the user's, and even its `__str__` may raise."""
    try:
        return str(reason)
    except BaseException as error:  # noqa: BLE001 — SystemExit too: the job's ending must not be lost for it
        return f"a {type(reason).__name__} that cannot be written: {describe(error)}"


def stack(error: BaseException) -> str:
    """The traceback without the frames of taskmaster's own."""
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
