"""The lifeline: the pipe whose closing kills every child when the supervisor is gone, in C code too.

Only the supervisor holds the writing end. Each child asks the kernel to SIGKILL its whole process
group when the reading end sees the hang-up. PR_SET_PDEATHSIG does not serve: it watches the thread
that forked, which is the template's.
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
        open_here.add(self)

    def close(self) -> None:
        """Close both ends. A second call does nothing."""
        if self in open_here:
            open_here.remove(self)
            os.close(self.read_fd)
            os.close(self._write_fd)


open_here: WeakSet[Lifeline] = WeakSet()


def _close_all() -> None:
    """Close the lines in a fork of an application that has started a supervisor: the parent holds them."""
    for lifeline in list(open_here):
        lifeline.close()


os.register_at_fork(after_in_child=_close_all)


def hold(read_fd: int, number: signal.Signals = signal.SIGKILL, *, alone: bool = False) -> int:
    """Let the kernel signal this process group when the other end is gone.

    Return a descriptor that has to stay open. `alone` signals this process only, whatever group or
    session it moves to. Owner and signal belong to the open file description, so each child opens
    one of its own. A program that takes the child's place (exec) inherits it.
    """
    own = os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK)
    os.set_inheritable(own, True)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid() if alone else -os.getpgrp())
    fcntl.fcntl(own, fcntl.F_SETSIG, number)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, select.POLLIN)
    if poll.poll(0):  # the supervisor was gone before we asked
        os._exit(1)
    return own


def hold_in_forks(held_fd: int) -> None:
    """Let what this process forks hold the line too, each for itself, because a daemon leaves the group."""

    def hold_alone() -> None:
        with suppress(OSError):  # a callback has closed the descriptor
            hold(held_fd, alone=True)

    os.register_at_fork(after_in_child=hold_alone)
