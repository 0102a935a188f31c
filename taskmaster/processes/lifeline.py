"""The pipe that ends every child when the supervisor is gone, in C code too.

Only the supervisor holds the writing end. Each child asks the kernel to SIGKILL its whole process group when the
reading end sees the hang-up. PR_SET_PDEATHSIG does not serve: it watches the thread that forked, the template's.
"""

import fcntl
import os
import select
import signal


class Lifeline:
    """The supervisor's end."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self._write_fd)


def hold(read_fd: int, number: signal.Signals = signal.SIGKILL) -> int:
    """Have this process group signalled when the other end is gone; a descriptor to be kept open.

    Owner and signal belong to the open file description, so each child opens one of its own.
    """
    own = os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(own, fcntl.F_SETSIG, number)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, select.POLLIN)
    if poll.poll(0):  # it died before we asked
        os._exit(1)
    return own
