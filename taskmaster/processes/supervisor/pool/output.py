"""The supervisor's side of its workers' output: keep it for failure records, and pass it on.

The supervisor empties the pipes, so no slow reader of its own output holds a worker up, and a
worker's last output is still there after a SIGKILL. It passes on whole lines, a little at a time,
as fast as its reader takes them.
"""

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from taskmaster.processes.ipc.output import PIPE_BYTES, TAIL_BYTES, StreamRecord, create_pipe
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.system.nonblocking import writer_for

STEP_BYTES = 1024 * 1024  # passed on at most in one step of the supervisor's loop
MOST_PENDING_BYTES = 64 * 1024 * 1024  # output that no reader takes is not kept for ever
PART_SECONDS = 1.0  # before the beginning of a line is passed on without its end
FREED_STEP_BYTES = 4 * 1024 * 1024
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class Stream:
    """One stream, from its pipe into a file in memory, and on to the supervisor's own descriptor.

    `is_filling`: the pipe was at least half full, so it should be emptied before the usual time.
    """

    def __init__(self, number: int, record: StreamRecord) -> None:
        self._target = writer_for(number)
        self._record = record
        with ExitStack() as unless_created:
            self._kept = os.memfd_create(f"taskmaster-output-{number}")
            unless_created.callback(os.close, self._kept)
            self.reader, writer = create_pipe()
            unless_created.pop_all()
        self.writer: int | None = writer
        self.is_filling = False
        self._size = 0
        self._grown_at = 0.0
        self._passed_on = 0
        self._freed = 0

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return self._size > self._passed_on

    def keep(self) -> None:
        """Move what is in the pipe into the file. The kernel does it in one step."""
        end, moved = b"", 0
        self._record.begin_turn()
        try:
            moved = os.splice(
                self.reader,
                self._kept,
                PIPE_BYTES,
                offset_dst=self._size,
                flags=os.SPLICE_F_NONBLOCK,
            )
            self._size += moved
            end_at = max(0, self._size - TAIL_BYTES)
            end = os.pread(self._kept, TAIL_BYTES, end_at)
        except BlockingIOError:  # it is empty
            pass
        finally:
            self._record.end_turn(self._size, end)
        self.is_filling = moved >= PIPE_BYTES // 2
        if moved:
            self._grown_at = time.monotonic()

    def tail(self, since: int) -> str:
        """Return the end of the stream, starting at `since` or later."""
        return self._record.tail(self.reader, since)

    def empty(self) -> None:
        """Make room in the pipe, and pass on what is new."""
        self.pass_on()

    def pass_on(self, *, is_last: bool = False) -> bool:
        """Pass on whole lines, as far as the reader takes them now. Return whether it took any.

        `is_last`: the worker has exited, so a line without an end is passed on too.
        """
        self.keep()
        if not self.has_pending:
            return False
        before = self._passed_on
        self._drop_oldest()
        try:
            self._write(self._next_lines(is_last=is_last))
        except OSError:  # there is no reader any more
            self._passed_on = self._size
        self._free()
        return self._passed_on > before

    def close_writer(self) -> None:
        """Close the end of the pipe that the worker has now."""
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def close(self) -> None:
        """Pass on the rest as far as the reader takes it, and close everything."""
        for _ in range(MOST_PENDING_BYTES // STEP_BYTES + 1):  # a child of it may write on
            if not self.pass_on(is_last=True):
                break
        self.close_writer()
        os.close(self.reader)
        os.close(self._kept)

    def _drop_oldest(self) -> None:
        """Forget what no reader has taken for long, in whole lines."""
        excess = self._size - MOST_PENDING_BYTES - self._passed_on
        if excess > 0:
            self._passed_on += excess
            following = os.pread(self._kept, STEP_BYTES, self._passed_on)
            self._passed_on += following.find(b"\n") + 1

    def _next_lines(self, *, is_last: bool) -> bytes:
        """Return the whole lines that come next, so that lines of two workers do not mix.

        Without an end for a while, or with more than `STEP_BYTES`, a line is cut.
        """
        found = os.pread(self._kept, STEP_BYTES, self._passed_on)
        is_all = len(found) < STEP_BYTES
        if is_all and (is_last or time.monotonic() > self._grown_at + PART_SECONDS):
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
            ctypes.CDLL(None).fallocate(self._kept, PUNCH_HOLE, offset, length)
            self._freed = until


class Output:
    """Both streams of one worker."""

    def __init__(self, row: ScoreboardRow) -> None:
        self.streams: list[Stream] = []
        with ExitStack() as unless_created:
            unless_created.callback(self.close)
            for number, record in ((1, row.stdout), (2, row.stderr)):
                self.streams.append(Stream(number, record))
            unless_created.pop_all()

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return any(stream.has_pending for stream in self.streams)

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        """Return the pipes that a worker may be waiting for, and what empties them."""
        return {one.reader: one.empty for one in self.streams if one.is_filling}

    def pass_on(self) -> None:
        """Pass on new output, as far as the readers take it now."""
        for stream in self.streams:
            stream.pass_on()

    def tails(self, since: tuple[int, int]) -> tuple[str, str]:
        """Return the end of standard output and of standard error, starting at `since` or later."""
        stdout, stderr = self.streams
        return stdout.tail(since[0]), stderr.tail(since[1])

    def close_writers(self) -> None:
        """Leave the worker's ends of the pipes to the worker."""
        for stream in self.streams:
            stream.close_writer()

    def close(self) -> None:
        """Pass on the rest as far as the readers take it, and close both streams."""
        for stream in self.streams:
            stream.close()
