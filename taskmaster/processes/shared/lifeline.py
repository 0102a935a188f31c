"""The pipe that ends every child when the supervisor is gone, in C code too.

Only the supervisor holds the writing end. Each child asks the kernel to SIGKILL its whole process group when the
reading end sees the hang-up. PR_SET_PDEATHSIG does not serve: it watches the thread that forked, the template's.
"""

import fcntl
import os
import select
import signal
from weakref import WeakSet


class Lifeline:
    """The supervisor's end."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()
        held_here.add(self)

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self in held_here:
            held_here.remove(self)
            os.close(self.read_fd)
            os.close(self._write_fd)


held_here: WeakSet[Lifeline] = WeakSet()


def _let_go() -> None:
    """In a fork of an application that has started a supervisor: only the application itself holds the line."""
    for lifeline in list(held_here):
        lifeline.close()


os.register_at_fork(after_in_child=_let_go)


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
