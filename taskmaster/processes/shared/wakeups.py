"""The queue that carries wakeups from the supervisor to one worker.

One writer, one reader, thrown away with the worker: `multiprocess`'s SimpleQueue without its two locks, which would
be named semaphores with a tracker process of their own, and of which a worker SIGKILLed in `get` would keep one for
ever. See docs/decisions/wakeup-queue.md.
"""

import os
import sys

from multiprocess import Pipe
from multiprocess.connection import Connection

WAKEUP = b"w"


class WakeupQueue:
    """The supervisor's end, and the descriptor of the worker's end until it was handed over."""

    def __init__(self) -> None:
        self._reader, self._writer = Pipe(duplex=False)
        os.set_blocking(self._writer.fileno(), False)  # the supervisor never waits for a child

    @property
    def reader_fd(self) -> int:
        return int(self._reader.fileno())

    def handed_over(self) -> None:
        """The worker has the reading end now."""
        self._reader.close()

    def put(self) -> None:
        """Tell the worker to look. At most one wakeup is outstanding, so there is always room for it."""
        try:
            self._writer.send_bytes(WAKEUP)
        except (BrokenPipeError, BlockingIOError):
            return  # it is dead, and its burial follows; or it has more wakeups than it can read

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


class WakeupReader:
    """The worker's end."""

    def __init__(self, fd: int) -> None:
        self._reader = Connection(fd, writable=False)

    def get(self, timeout: float) -> bool:
        """Wait for a wakeup, at most `timeout` seconds; False when none came. Exits when the supervisor let go."""
        if not self._reader.poll(timeout):
            return False
        try:
            self._reader.recv_bytes()
        except EOFError:
            sys.exit("taskmaster: a worker that the supervisor does not know leaves")
        return True
