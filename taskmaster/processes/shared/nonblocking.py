"""Standard output and error as a supervisor writes to them: never waiting for who reads them."""

import os
import select
import socket
import stat
from collections.abc import Callable
from functools import cache, partial

CHUNK = 4096  # a pipe that is ready takes so much (PIPE_BUF) without blocking


class NonBlockingWriter:
    """A descriptor of another's that is shared with other processes: how it blocks is not ours to change."""

    def __init__(self, fd: int) -> None:
        self._own: int | None = None
        self._write = self._writer(fd)

    def write(self, data: bytes) -> int:
        """Write what is taken now; how many bytes that was. Raises OSError when nobody reads any more."""
        taken = 0
        while taken < len(data):
            try:
                now = self._write(data[taken : taken + CHUNK])
            except BlockingIOError:
                break
            if not now:
                break
            taken += now
        return taken

    def close(self) -> None:
        """Let go of what was opened for it; nothing can be written any more."""
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self._write = len

    def _writer(self, fd: int) -> Callable[[bytes], int]:
        """A pipe or terminal is opened anew, for ourselves and not blocking; a socket is asked not to, each time."""
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._own = os.dup(fd)
            return partial(_send, self._own)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                self._own = os.open(
                    f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:  # another user's terminal, perhaps
                return lambda data: os.write(fd, data) if _ready(fd) else 0
        return partial(os.write, fd if self._own is None else self._own)


@cache
def writer_for(fd: int) -> NonBlockingWriter:
    """The one of this process."""
    return NonBlockingWriter(fd)


def _send(fd: int, data: bytes) -> int:
    borrowed = socket.socket(fileno=fd)
    try:
        return borrowed.send(data, socket.MSG_DONTWAIT)
    finally:
        borrowed.detach()


def _ready(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
