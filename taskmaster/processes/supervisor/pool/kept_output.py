"""Output that the supervisor keeps in a file in memory until its own reader takes it."""

import ctypes
import os
import time
from collections.abc import Iterator
from functools import cache

from taskmaster.processes.ipc.output import PIPE_BYTES, TAIL_BYTES
from taskmaster.processes.system.nonblocking import writer_for

STEP_BYTES = 1024 * 1024  # passed on at most in one step of the supervisor's loop
MOST_PENDING_BYTES = 64 * 1024 * 1024  # output that no reader takes is not kept for ever
PART_SECONDS = 1.0  # before the beginning of a line is passed on without its end
FREED_STEP_BYTES = 4 * 1024 * 1024
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class KeptOutput:
    """A file in memory, whose lines are passed on to one of the supervisor's descriptors."""

    def __init__(self, number: int) -> None:
        self._target = writer_for(number)
        self._fd = os.memfd_create(f"taskmaster-output-{number}")
        self.size = 0
        self._grown_at = 0.0
        self._passed_on = 0
        self._freed = 0

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return self.size > self._passed_on

    @property
    def left(self) -> int:
        """How many bytes the reader has not taken yet."""
        return self.size - self._passed_on + len(self._target.rest)

    def take(self, pipe: int) -> int:
        """Move what is in a pipe to the end of the file, in one step of the kernel.

        Return how many bytes these are.
        """
        try:
            moved = os.splice(
                pipe, self._fd, PIPE_BYTES, offset_dst=self.size, flags=os.SPLICE_F_NONBLOCK
            )
        except BlockingIOError:  # it is empty
            return 0
        self._grow(moved)
        return moved

    def append(self, content: bytes) -> None:
        """Add to the end of the file."""
        self._grow(os.pwrite(self._fd, content, self.size))

    def tail(self) -> bytes:
        """Return the end of what was taken."""
        return os.pread(self._fd, TAIL_BYTES, max(0, self.size - TAIL_BYTES))

    def rest(self) -> Iterator[bytes]:
        """Take out what is not passed on yet, the oldest first, with an end for the last line."""
        self._drop_oldest()
        end = b""
        while self.has_pending:
            end = os.pread(self._fd, STEP_BYTES, self._passed_on)
            self._passed_on += len(end)
            yield end
        if end and not end.endswith(b"\n"):
            yield b"\n"

    def pass_on(self) -> bool:
        """Pass on whole lines, as far as the reader takes them now. Return whether it took any."""
        if not self.has_pending:
            return False
        before = self._passed_on
        self._drop_oldest()
        try:
            self._write(self._next_lines())
        except OSError:  # there is no reader any more
            self._passed_on = self.size
        self._free()
        return self._passed_on > before

    def close(self) -> None:
        os.close(self._fd)

    def _grow(self, count: int) -> None:
        if count:
            self.size += count
            self._grown_at = time.monotonic()

    def _drop_oldest(self) -> None:
        """Forget what no reader has taken for long, in whole lines."""
        excess = self.size - MOST_PENDING_BYTES - self._passed_on
        if excess > 0:
            self._passed_on += excess
            following = os.pread(self._fd, STEP_BYTES, self._passed_on)
            self._passed_on += following.find(b"\n") + 1

    def _next_lines(self) -> bytes:
        """Return the whole lines that come next, so that lines of two workers do not mix.

        Without an end for a while, or with more than `STEP_BYTES`, a line is cut.
        """
        found = os.pread(self._fd, STEP_BYTES, self._passed_on)
        is_all = len(found) < STEP_BYTES
        if is_all and time.monotonic() > self._grown_at + PART_SECONDS:
            return found
        end = found.rfind(b"\n") + 1
        return found[:end] if end or is_all else found

    def _write(self, lines: bytes) -> None:
        if lines and self._target.write(lines):
            self._passed_on += len(lines)

    def _free(self) -> None:
        """Free the memory of what was passed on, except the end, which is copied once more."""
        until = self._passed_on - TAIL_BYTES
        if until - self._freed >= FREED_STEP_BYTES:
            offset, length = ctypes.c_long(self._freed), ctypes.c_long(until - self._freed)
            ctypes.CDLL(None).fallocate(self._fd, PUNCH_HOLE, offset, length)
            self._freed = until


@cache
def backlog_of(number: int) -> KeptOutput:
    """Return what workers that have exited left for one of the supervisor's descriptors."""
    return KeptOutput(number)
