"""Writing to standard output and error without ever waiting for their reader."""

import os
import select
import socket
import stat
from collections.abc import Callable
from functools import cache, partial

CHUNK_BYTES = 4096  # a pipe that is ready takes this much (PIPE_BUF) without blocking


class NonBlockingWriter:
    """Writes to a descriptor without blocking.

    Other processes share the descriptor, so its flags are left alone.
    """

    def __init__(self, fd: int) -> None:
        self._own: int | None = None
        self._write = self._write_function(fd)

    def write(self, data: bytes) -> int:
        """Write what the reader takes now, and return the number of bytes.

        Raises OSError if there is no reader any more.
        """
        taken = 0
        while taken < len(data):
            try:
                now = self._write(data[taken : taken + CHUNK_BYTES])
            except BlockingIOError:
                break
            if not now:
                break
            taken += now
        return taken

    def close(self) -> None:
        """Close what this writer has opened. Later writes are ignored."""
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self._write = len

    def _write_function(self, fd: int) -> Callable[[bytes], int]:
        """Return the function that writes to this kind of file.

        A pipe or terminal is opened once more in non-blocking mode. A socket takes a flag with each
        call.
        """
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._own = os.dup(fd)
            return partial(_send, self._own)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._own = os.open(f"/proc/self/fd/{fd}", flags)
            except OSError:  # another user's terminal, perhaps
                return lambda data: os.write(fd, data) if _is_writable(fd) else 0
        return partial(os.write, fd if self._own is None else self._own)


@cache
def writer_for(fd: int) -> NonBlockingWriter:
    """Return this process's only writer for a descriptor."""
    return NonBlockingWriter(fd)


def _send(fd: int, data: bytes) -> int:
    borrowed = socket.socket(fileno=fd)
    try:
        return borrowed.send(data, socket.MSG_DONTWAIT)
    finally:
        borrowed.detach()


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
