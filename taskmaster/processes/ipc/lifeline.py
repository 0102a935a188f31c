"""The lifeline: a pipe whose closing kills every child when the supervisor is gone.

The supervisor alone holds the writing end, in `Lifeline`. Template and workers call `hold`: the
kernel then sends SIGKILL to their process group when the writing end is closed, even while they run
C code. PR_SET_PDEATHSIG cannot do this: it watches the thread that forked, which is the template's.
An application that starts a supervisor holds one too, so that the supervisor stops with it.
"""

import fcntl
import os
import select
import signal
from contextlib import suppress
from weakref import WeakSet


class Lifeline:
    """Both ends of the pipe, in the process that others must not outlive."""

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
    """Close the lifelines in a fork of the process that opened them.

    Otherwise a child of an application would keep the application's supervisor alive.
    """
    for lifeline in list(open_here):
        lifeline.close()


os.register_at_fork(after_in_child=_close_all)


def hold(read_fd: int, number: signal.Signals = signal.SIGKILL, *, alone: bool = False) -> int:
    """Let the kernel signal this process group when the writing end is closed.

    Return a descriptor that has to stay open. With `alone`, only this process is signalled,
    whatever group or session it moves to. Owner and signal belong to the open file description, so
    each child opens one of its own. A program that replaces the child (exec) inherits it.
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
    """Let each process that this one forks hold the lifeline for itself.

    The signal to the group does not reach a daemon, which leaves the group.
    """

    def hold_alone() -> None:
        with suppress(OSError):  # a callback has closed the descriptor
            hold(held_fd, alone=True)

    os.register_at_fork(after_in_child=hold_alone)
