"""What a worker writes to standard output and error: kept for the history of its jobs, and passed on.

Each worker writes into two files in memory, so that nothing that reads slowly can hold it up, and what it wrote last
is there after a SIGKILL. The supervisor passes on what has come, a little at a time, and only what the reader takes.
"""

import ctypes
import fcntl
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from taskmaster.processes.shared.nonblocking import CHUNK, writer_for

TAIL_BYTES = 4096
STANDARD = (1, 2)
TURN_BYTES = 1024 * 1024  # passed on in one turn of the supervisor's loop
MOST_WAITING = 64 * 1024 * 1024  # what nobody reads is not kept for ever
FREED_STEP = 4 * 1024 * 1024
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


# -- the supervisor's side


class Stream:
    """One of the two, from memory to our own descriptor `number`."""

    def __init__(self, number: int) -> None:
        self.fd = os.memfd_create(f"taskmaster-output-{number}")
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)
        self._writer = writer_for(number)
        self._passed_on = 0
        self._freed = 0

    def pass_on(self) -> None:
        """Pass on what has come, as far as the reader takes it now."""
        size = os.fstat(self.fd).st_size
        self._passed_on = max(self._passed_on, size - MOST_WAITING)
        end = min(size, self._passed_on + TURN_BYTES)
        while self._passed_on < end:
            chunk = os.pread(self.fd, min(CHUNK, end - self._passed_on), self._passed_on)
            try:
                taken = self._writer.write(chunk)
            except OSError:  # nobody reads it any more: it is only kept
                self._passed_on = size
                break
            self._passed_on += taken
            if taken < len(chunk):
                break
        self._free()

    def _free(self) -> None:
        """Give back the memory of what was passed on, but for the end, which the history may want."""
        until = self._passed_on - TAIL_BYTES
        if until - self._freed >= FREED_STEP:
            punch = ctypes.CDLL(None).fallocate
            punch(
                self.fd, PUNCH_HOLE, ctypes.c_long(self._freed), ctypes.c_long(until - self._freed)
            )
            self._freed = until

    @property
    def waiting(self) -> bool:
        return os.fstat(self.fd).st_size > self._passed_on


class Output:
    """Both streams of one worker."""

    def __init__(self) -> None:
        self.streams = [Stream(number) for number in STANDARD]

    def fds(self) -> Sequence[int]:
        return [stream.fd for stream in self.streams]

    def pass_on(self) -> None:
        for stream in self.streams:
            stream.pass_on()

    @property
    def waiting(self) -> bool:
        return any(stream.waiting for stream in self.streams)

    def close(self) -> None:
        """Pass on the rest, as far as it is taken, and let go."""
        for stream in self.streams:
            before = -1
            while stream.waiting and before != stream._passed_on:
                before = stream._passed_on
                stream.pass_on()
            os.close(stream.fd)


def tail(fd: int, since: int) -> str:
    """The last that was written to one of the files, at most `TAIL_BYTES`, and nothing before `since`."""
    size = os.fstat(fd).st_size
    start = max(since, size - TAIL_BYTES)
    return os.pread(fd, size - start, start).decode("utf-8", "replace") if size > start else ""


# -- the worker's side


def capture(fds: Sequence[int]) -> None:
    """Write to these files from now on, each line at once."""
    for fd, target in zip(fds, STANDARD, strict=True):
        os.dup2(fd, target)
        os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def written() -> tuple[int, int]:
    """How much this worker has written: where the next run's output begins."""
    flush()
    try:
        return os.lseek(1, 0, os.SEEK_END), os.lseek(2, 0, os.SEEK_END)
    except OSError:  # a callback has closed or replaced them: the guard sees it after the batch
        return 0, 0


def flush() -> None:
    """Write what is held back of a line that has not ended: it belongs to the run that printed it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 — a callback may have put anything in its place: what it held back is lost
            continue


def tails(fds: Sequence[int], since: Sequence[int]) -> tuple[str, str]:
    """What was written last to standard output and to standard error."""
    return tail(fds[0], since[0]), tail(fds[1], since[1])
