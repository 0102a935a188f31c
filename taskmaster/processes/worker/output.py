"""A worker's standard output and error: what belongs to which run."""

import ctypes
import os
import sys
from io import TextIOWrapper

from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.system.fd_identity import identity

STANDARD = (1, 2)
LIBC = ctypes.CDLL(None)


class WorkerOutput:
    """Both streams of this worker, whose pipes are behind the standard descriptors."""

    def __init__(self, row: ScoreboardRow) -> None:
        self._records = row.stdout, row.stderr
        self._pipes = [identity(fd) for fd in STANDARD]

    def lengths(self) -> tuple[int, int]:
        """Return how many bytes this worker has written: the next run's output begins there."""
        flush()
        stdout, stderr = self._records
        try:
            return stdout.length(1), stderr.length(2)
        except OSError:  # a callback has closed or replaced them: the guard notices after the batch
            return 0, 0

    def tails(self, since: tuple[int, int]) -> tuple[str, str]:
        """Return the end of standard output and of standard error, starting at `since` or later."""
        flush()
        flush_c()
        stdout, stderr = self._records
        try:
            if [identity(fd) for fd in STANDARD] == self._pipes:
                return stdout.tail(1, since[0]), stderr.tail(2, since[1])
        except OSError:  # descriptors are short
            pass
        return "", ""


def capture(stdout_fd: int, stderr_fd: int) -> None:
    """Write standard output and error into these pipes from now on, each line at once."""
    for fd, target in ((stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(fd, target)
        os.close(fd)
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, TextIOWrapper):
            file.reconfigure(line_buffering=True)


class StandardFiles:
    """Python's files for the standard streams, which a job may close or replace."""

    def __init__(self) -> None:
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def restore(self) -> None:
        """Let the next job print into those that this worker began with."""
        if getattr(self._stdout, "closed", False):
            self._stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        if getattr(self._stderr, "closed", False):
            self._stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.stdout, sys.stderr = self._stdout, self._stderr


def flush_c() -> None:
    """Write what C code has printed and its library holds back."""
    LIBC.fflush(None)


def flush() -> None:
    """Write the part of a line that is still buffered: it belongs to the run that printed it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 — a callback may have put anything in its place
            continue  # what that object has buffered is lost
