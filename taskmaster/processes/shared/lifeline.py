"""The pipe that ends every child when the supervisor is gone, in C code too.

Only the supervisor holds the writing end. Each child asks the kernel to SIGKILL its whole process group when the
reading end sees the hang-up. PR_SET_PDEATHSIG does not serve: it watches the thread that forked, the template's.
"""

import fcntl
import os
import select
import signal
from contextlib import suppress
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


def hold(read_fd: int, number: signal.Signals = signal.SIGKILL, *, alone: bool = False) -> int:
    """Have this process group signalled when the other end is gone; a descriptor to be kept open. `alone`: this process
    only, whatever group or session it goes to.

    Owner and signal belong to the open file description, so each child opens one of its own. A program that takes the
    child's place (exec) inherits it.
    """
    own = os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK)
    os.set_inheritable(own, True)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid() if alone else -os.getpgrp())
    fcntl.fcntl(own, fcntl.F_SETSIG, number)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, select.POLLIN)
    if poll.poll(0):  # it died before we asked
        os._exit(1)
    return own


def hold_in_forks(held_fd: int) -> None:
    """Have what this process forks hold the line too, each for itself: a daemon leaves the group."""

    def hold_it() -> None:
        with suppress(OSError):  # a callback has closed it
            hold(held_fd, alone=True)

    os.register_at_fork(after_in_child=hold_it)
