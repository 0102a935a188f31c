"""The pipe that carries wakeups from the supervisor to one worker.

It has one writer and one reader, and is closed when the worker exits. It is the SimpleQueue of
`multiprocess` without its two locks. Those would be named semaphores with a tracker process of
their own, and a worker that is SIGKILLed in `get` would hold one for ever
(docs/decisions/wakeup-queue.md).
"""

import os
import sys

from multiprocess import Pipe
from multiprocess.connection import Connection

WAKEUP = b"w"


class WakeupQueue:
    """The supervisor's end, and the worker's end until the worker has it."""

    def __init__(self) -> None:
        self._reader, self._writer = Pipe(duplex=False)
        os.set_blocking(self._writer.fileno(), False)  # the supervisor never waits for a child

    @property
    def reader_fd(self) -> int:
        return int(self._reader.fileno())

    def close_reader(self) -> None:
        """Close the reading end, which the worker has now."""
        self._reader.close()

    def put(self) -> None:
        """Send a wakeup. At most one is outstanding, so there is always room for it."""
        try:
            self._writer.send_bytes(WAKEUP)
        except (BrokenPipeError, BlockingIOError):
            return  # the worker has exited and will be reaped, or its pipe is full of wakeups

    def close(self) -> None:
        """Close both ends."""
        self._writer.close()
        self._reader.close()


class WakeupReader:
    """The worker's end."""

    def __init__(self, fd: int) -> None:
        self._reader = Connection(fd, writable=False)

    def get(self, timeout: float) -> bool:
        """Wait for a wakeup, at most `timeout` seconds. Return False if none came.

        Exits if the supervisor has closed its end, because then no slot holds this worker.
        """
        if not self._reader.poll(timeout):
            return False
        try:
            self._reader.recv_bytes()
        except EOFError:
            sys.exit("taskmaster: worker exits: the supervisor has closed its pipe")
        return True
