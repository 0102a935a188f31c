"""A worker's standard output and error: kept for failure records, passed on by the supervisor.

Each worker writes into two files in memory, so no slow reader can hold it up, and its last output
is still there after a SIGKILL. The supervisor copies the files to its own output, a little at a
time, as fast as its reader takes them.
"""

import ctypes
import fcntl
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from io import TextIOWrapper

from taskmaster.processes.system.nonblocking import CHUNK_BYTES, writer_for

TAIL_BYTES = 4096
STANDARD = (1, 2)
STEP_BYTES = 1024 * 1024  # passed on at most in one step of the supervisor's loop
MOST_PENDING_BYTES = 64 * 1024 * 1024  # output that no reader takes is not kept for ever
FREED_STEP_BYTES = 4 * 1024 * 1024
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


# -- the supervisor's side


class Stream:
    """One of the two streams, from memory to the supervisor's own descriptor `number`."""

    def __init__(self, number: int) -> None:
        self._writer = writer_for(number)
        self.fd = os.memfd_create(f"taskmaster-output-{number}")
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)
        self._passed_on = 0
        self._freed = 0

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return os.fstat(self.fd).st_size > self._passed_on

    def pass_on(self) -> bool:
        """Pass on new output, as far as the reader takes it now. Return whether it took any."""
        before = self._passed_on
        size = os.fstat(self.fd).st_size
        self._passed_on = max(self._passed_on, size - MOST_PENDING_BYTES)
        end = min(size, self._passed_on + STEP_BYTES)
        while self._passed_on < end:
            chunk = os.pread(self.fd, min(CHUNK_BYTES, end - self._passed_on), self._passed_on)
            try:
                taken = self._writer.write(chunk)
            except OSError:  # there is no reader any more
                self._passed_on = size
                break
            self._passed_on += taken
            if taken < len(chunk):
                break
        self._free()
        return self._passed_on > before

    def _free(self) -> None:
        """Free the memory of what was passed on, except the end: a failure record may need it."""
        until = self._passed_on - TAIL_BYTES
        if until - self._freed >= FREED_STEP_BYTES:
            offset, length = ctypes.c_long(self._freed), ctypes.c_long(until - self._freed)
            ctypes.CDLL(None).fallocate(self.fd, PUNCH_HOLE, offset, length)
            self._freed = until


class Output:
    """Both streams of one worker."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        with ExitStack() as unless_created:
            unless_created.callback(self.close)
            for number in STANDARD:
                self.streams.append(Stream(number))
            unless_created.pop_all()

    def fds(self) -> Sequence[int]:
        """Return the descriptors of standard output and error."""
        return [stream.fd for stream in self.streams]

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return any(stream.has_pending for stream in self.streams)

    def pass_on(self) -> None:
        """Pass on new output, as far as the readers take it now."""
        for stream in self.streams:
            stream.pass_on()

    def close(self) -> None:
        """Pass on the rest as far as the readers take it, and close both streams."""
        for stream in self.streams:
            while stream.has_pending and stream.pass_on():
                pass
            os.close(stream.fd)


def tails(fds: Sequence[int], since: Sequence[int]) -> tuple[str, str]:
    """Return the end of standard output and of standard error, starting at `since` or later."""
    return _tail(fds[0], since[0]), _tail(fds[1], since[1])


def _tail(fd: int, since: int) -> str:
    """Return at most `TAIL_BYTES` from the end of a file, starting at `since` or later."""
    size = os.fstat(fd).st_size
    start = max(since, size - TAIL_BYTES)
    return os.pread(fd, size - start, start).decode("utf-8", "replace") if size > start else ""


# -- the worker's side


def capture(fds: Sequence[int]) -> None:
    """Write standard output and error to these files from now on, each line at once."""
    for fd, target in zip(fds, STANDARD, strict=True):
        os.dup2(fd, target)
        os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def lengths() -> tuple[int, int]:
    """Return how many bytes this worker has written: the next run's output begins there."""
    flush()
    try:
        return os.lseek(1, 0, os.SEEK_END), os.lseek(2, 0, os.SEEK_END)
    except OSError:  # a callback has closed or replaced them: the guard notices after the batch
        return 0, 0


def flush() -> None:
    """Write the part of a line that is still buffered: it belongs to the run that printed it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 — a callback may have put anything in its place
            continue  # what that object has buffered is lost
