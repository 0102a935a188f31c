"""The record that a job keeps of each run that went wrong: what happened, where, on which run, for how long."""

import socket
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskmaster.endings import Failure

HOST = socket.gethostname()
OWN = str(Path(__file__).parent.parent)
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 16_000


def failure(
    kind: str, message: str, *, run: int, worker: str, duration_seconds: float, traceback: str | None = None
) -> Failure:
    """One record. Text is cut to a bounded length, and made storable: no NUL, no lone surrogate."""
    record: dict[str, Any] = {
        "kind": kind,
        "message": _storable(message, MAX_MESSAGE),
        "run": run,
        "worker": worker,
        "host": HOST,
        "duration_seconds": round(duration_seconds, 6),
        "at": datetime.now(UTC).isoformat(),
    }
    if traceback:
        record["traceback"] = _storable(traceback, MAX_TRACEBACK)
    return record


def describe(error: BaseException) -> str:
    """Type and message of an exception, even of one whose own `__str__` raises."""
    return "".join(traceback.format_exception_only(error)).strip()


def text_of(reason: object) -> str:
    """The reason that an outcome gives; it is the user's, and even its `__str__` may raise."""
    try:
        return str(reason)
    except Exception as error:  # noqa: BLE001 — whatever it is, the job's ending must not be lost for it
        return f"a {type(reason).__name__} that cannot be written: {describe(error)}"


def stack(error: BaseException) -> str:
    """The traceback without the frames of taskmaster's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(OWN):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _storable(text: str, limit: int) -> str:
    if len(text) > limit:  # the end of a traceback says more than its middle
        text = f"{text[: limit // 4]}\n…\n{text[-(limit - limit // 4) :]}"
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
