"""The log of every process, unless the user has set up logging in another way.

The reader of a log may stop reading: a pager, a terminal with Ctrl-S, a log driver whose disk is
full. A process that writes to it would block, and other supervisors would soon take a supervisor
that blocks for gone. So lines wait in memory instead, and if there are too many, the oldest are
dropped.
"""

import json
import logging
import os
import time
from collections import deque
from datetime import UTC, datetime

from taskmaster.options import LogFormat
from taskmaster.processes.system.nonblocking import (
    NonBlockingWriter,
    flush_writers,
    writer_for,
)

STANDARD_ERROR = 2
MOST_LINES = 10_000
FLUSH_SECONDS = 1.0
OWN = [
    logging.getLogger(name)
    for name in (
        *("taskmaster", "taskmaster.supervisor", "taskmaster.worker"),
        *("taskmaster.reporter", "taskmaster.exporter", "taskmaster.jobs"),
    )
]


def set_up_logging(log_format: LogFormat = "text") -> None:
    """Log to standard error, one line per record, unless logging is set up already."""
    handler = NonBlockingHandler(writer_for(STANDARD_ERROR))
    handler.setFormatter(JsonFormatter() if log_format == "json" else LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def enable_loggers() -> None:
    """Enable taskmaster's loggers again.

    `dictConfig` and `fileConfig` of the user's code disable all loggers that they do not name.
    """
    for logger in OWN:
        logger.disabled = False


def log_into_pipe() -> None:
    """Log to this worker's standard error, which is a pipe that the supervisor empties."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, NonBlockingHandler):
            handler.redirect(WaitingWriter(STANDARD_ERROR))


def write_pending_lines() -> None:
    """Write the lines that the reader has not taken yet, as far as it takes them now."""
    flush_writers()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, NonBlockingHandler):
            handler.write_pending()


class LineFormatter(logging.Formatter):
    """Writes time, pid and logger before each message. A record that is `bare` is a whole line.

    It builds the line itself instead of using a format, because the logging middleware writes a
    line per job: 2.8 µs against 4.5.
    """

    second = -1
    formatted = ""

    def usesTime(self) -> bool:
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:
        return f"{record.asctime} {record.process} {record.name} {record.message}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time as logging does. The part that changes once a second is cached."""
        second = int(record.created)
        if second != self.second:
            self.second = second
            self.formatted = time.strftime(self.default_time_format, self.converter(second))
        return f"{self.formatted},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if getattr(record, "bare", False) else super().format(record)


class JsonFormatter(logging.Formatter):
    """Writes an object per record. A record that is `bare` is a whole line."""

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "bare", False):
            return record.getMessage()
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        # In ASCII, because some readers end a line at U+2028.
        return json.dumps(fields, default=str)


class WaitingWriter:
    """Writes all at once, and waits if need be."""

    rest = b""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> bool:
        """Write `data`, and return True. Raises OSError."""
        while data:
            data = data[os.write(self._fd, data) :]
        return True

    def close(self) -> None:
        """Do nothing: the descriptor is not ours."""


Writer = NonBlockingWriter | WaitingWriter


class NonBlockingHandler(logging.Handler):
    """Writes what the reader takes now, and the rest with a later line or `write_pending`."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self._pending: deque[bytes] = deque()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 — as logging does: a malformed record stops nothing
            self.handleError(record)
            return
        if len(self._pending) == MOST_LINES:
            self._pending.popleft()
            self._dropped += 1
        self._pending.append(f"{line}\n".encode("utf-8", "backslashreplace"))
        self.write_pending()

    def write_pending(self) -> None:
        """Write what the reader takes now."""
        self.acquire()
        try:
            while self._pending:
                if not self._writer.write(self._pending[0]):
                    return
                self._pending.popleft()
                self._report_dropped_lines()
        except OSError:  # there is no reader any more
            self._pending.clear()
        finally:
            self.release()

    def redirect(self, writer: Writer) -> None:
        """Write to `writer` from now on.

        Drop the pending lines: the process that forked this one will write them.
        """
        self._pending.clear()
        self._writer.close()
        self._writer = writer

    def flush(self) -> None:
        """Wait a moment for a slow reader, at the end of the process."""
        deadline = time.monotonic() + FLUSH_SECONDS
        self.write_pending()
        while (self._pending or self._writer.rest) and time.monotonic() < deadline:
            time.sleep(FLUSH_SECONDS / 50)
            flush_writers()
            self.write_pending()

    def _report_dropped_lines(self) -> None:
        if self._dropped:
            notice = f"(log lines dropped: {self._dropped}, no reader took them)\n"
            self._pending.appendleft(notice.encode())
            self._dropped = 0
