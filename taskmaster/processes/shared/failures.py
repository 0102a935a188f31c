"""The record that a job keeps of each run that went wrong: what happened, where, on which run, for how long."""

import socket
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import taskmaster
from taskmaster.job import Failure
from taskmaster.processes.shared.scoreboard import Progress

HOST = socket.gethostname()
OWN = str(Path(taskmaster.__file__).parent)
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 16_000


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
    """Return one record. Text is cut to a bounded length and made storable: no NUL, no lone surrogate."""
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
