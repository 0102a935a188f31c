"""One stream of a worker's output: a pipe, and a record of what came out of it.

The worker, its children and code in C write into the pipe, as they would into one of systemd or
Docker. Only the supervisor takes anything out of it. It notes how much, and the end of it, in the
worker's row of the scoreboard. So the worker knows at any time how much was written, and what.
"""

import ctypes
import fcntl
import os
from array import array
from contextlib import ExitStack, suppress
from fcntl import ioctl
from termios import FIONREAD

TAIL_BYTES = 4096
PIPE_BYTES = 256 * 1024  # more than a worker prints in a tenth of a second, as a rule
LOOKS = 100  # while the supervisor takes something out, which it does in microseconds
TAKEN, TURN = range(2)  # the cells of a record
COUNT = array("i", [0])  # reused, because a new one per run takes longer than the call


class StreamRecord:
    """The part of a row about one stream. The supervisor writes it.

    Its turn is odd while the supervisor takes something out of the pipe.
    """

    def __init__(self, cells: memoryview, end: memoryview) -> None:
        self._cells = cells
        self._end = end

    # -- by the supervisor

    def begin_turn(self) -> None:
        """Note that something is about to be taken out of the pipe."""
        self._cells[TURN] += 1

    def end_turn(self, taken: int, end: bytes = b"") -> None:
        """Note how many bytes were taken out since the worker began, and the end of them."""
        self._end[: len(end)] = end
        self._cells[TAKEN] = taken
        self._cells[TURN] += 1

    # -- by both sides. `pipe` is either end of it.

    def length(self, pipe: int) -> int:
        """Return how many bytes were written so far. Raises OSError if `pipe` is closed."""
        cells = self._cells
        for _ in range(LOOKS):
            turn = cells[TURN]
            ioctl(pipe, FIONREAD, COUNT)
            length: int = cells[TAKEN] + COUNT[0]
            if turn == cells[TURN] and not turn % 2:
                break
            os.sched_yield()
        return length

    def tail(self, pipe: int, since: int) -> str:
        """Return at most `TAIL_BYTES` from the end of the stream, from `since` or later.

        Raises OSError if `pipe` is closed.
        """
        cells = self._cells
        for _ in range(LOOKS):
            turn, taken = cells[TURN], cells[TAKEN]
            found = bytes(self._end[: min(taken, TAIL_BYTES)]) + peek(pipe)
            if turn == cells[TURN] and not turn % 2:
                break
            os.sched_yield()
        end = taken - min(taken, TAIL_BYTES) + len(found)
        count = min(TAIL_BYTES, end - since)
        return found[-count:].decode("utf-8", "replace") if count > 0 else ""


def create_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a pipe for a stream. Raises OSError."""
    with ExitStack() as unless_created:
        reader, writer = os.pipe()
        unless_created.callback(os.close, reader)
        unless_created.callback(os.close, writer)
        with suppress(PermissionError):  # this user's other pipes are large already
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        unless_created.pop_all()
    return reader, writer


def bytes_in(pipe: int) -> int:
    """Return how many bytes are in a pipe."""
    ioctl(pipe, FIONREAD, COUNT)
    return COUNT[0]


def peek(pipe: int) -> bytes:
    """Return what is in a pipe, and leave it there."""
    if not bytes_in(pipe):
        return b""
    with ExitStack() as stack:
        fds = os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_NONBLOCK), *os.pipe()
        for fd in fds:
            stack.callback(os.close, fd)
        reader, copy_reader, copy_writer = fds
        size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
        with suppress(PermissionError):  # then a part is seen
            fcntl.fcntl(copy_writer, fcntl.F_SETPIPE_SZ, size)
        count = ctypes.CDLL(None).tee(reader, copy_writer, size, os.SPLICE_F_NONBLOCK)
        return os.read(copy_reader, count) if count > 0 else b""
