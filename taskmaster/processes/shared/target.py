"""Standard output and error as a supervisor writes to them: never waiting for who reads them."""

import os
import select
import socket
import stat
from collections.abc import Callable
from functools import cache

CHUNK = 4096  # a pipe that is ready takes so much (PIPE_BUF) without blocking


class Target:
    """A descriptor of another's that is shared with other processes: how it blocks is not ours to change."""

    def __init__(self, fd: int) -> None:
        self._write = _writer(fd)

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


@cache
def target_of(fd: int) -> Target:
    """The one of this process."""
    return Target(fd)


def _writer(fd: int) -> Callable[[bytes], int]:
    """A pipe or a terminal is opened anew, for ourselves and without blocking; a socket is asked not to, each time."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        own = socket.socket(fileno=os.dup(fd))
        return lambda data: own.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # another user's terminal, perhaps
            return lambda data: os.write(fd, data) if _ready(fd) else 0
        return lambda data: os.write(again, data)
    return lambda data: os.write(fd, data)


def _ready(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
