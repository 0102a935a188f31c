"""The supervisor's side of its workers' output: keep it for failure records, and pass it on.

The supervisor empties the pipes, so no slow reader of its own output holds a worker up, and a
worker's last output is still there after a SIGKILL. It passes on whole lines, a little at a time,
as fast as its reader takes them.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from taskmaster.processes.ipc.output import PIPE_BYTES, StreamRecord, create_pipe
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.supervisor.pool.kept_output import KeptOutput, backlog_of


class Stream:
    """One stream, from its pipe into a file in memory, and on to the supervisor's own descriptor.

    `is_filling`: the pipe was at least half full, so it should be emptied before the usual time.
    """

    def __init__(self, number: int, record: StreamRecord) -> None:
        self._number = number
        self._record = record
        with ExitStack() as unless_created:
            self._kept = KeptOutput(number)
            unless_created.callback(self._kept.close)
            self.reader, writer = create_pipe()
            unless_created.pop_all()
        self.writer: int | None = writer
        self.is_filling = False

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be passed on."""
        return self._kept.has_pending

    def keep(self) -> int:
        """Move what is in the pipe into the file. Return how many bytes these are."""
        moved = 0
        self._record.begin_turn()
        try:
            moved = self._kept.take(self.reader)
        finally:
            self._record.end_turn(self._kept.size, self._kept.tail() if moved else b"")
        self.is_filling = moved >= PIPE_BYTES // 2
        return moved

    def tail(self, since: int) -> str:
        """Return the end of the stream, starting at `since` or later."""
        return self._record.tail(self.reader, since)

    def empty(self) -> None:
        """Make room in the pipe, and pass on what is new."""
        self.keep()
        self._kept.pass_on()

    def close_writer(self) -> None:
        """Close the end of the pipe that the worker has now."""
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def close(self) -> None:
        """Leave the rest for the reader, and close everything."""
        self.keep()
        self.keep()  # a child of the worker may write on, so this does not wait for an empty pipe
        for part in self._kept.rest():
            backlog_of(self._number).append(part)
        self.close_writer()
        os.close(self.reader)
        self._kept.close()


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
            stream.empty()

    def tails(self, since: tuple[int, int]) -> tuple[str, str]:
        """Return the end of standard output and of standard error, starting at `since` or later."""
        stdout, stderr = self.streams
        return stdout.tail(since[0]), stderr.tail(since[1])

    def close_writers(self) -> None:
        """Leave the worker's ends of the pipes to the worker."""
        for stream in self.streams:
            stream.close_writer()

    def close(self) -> None:
        """Leave the rest for the readers, and close both streams."""
        for stream in self.streams:
            stream.close()
