"""The guard against callbacks that change the worker's descriptors, signals, timers or loggers.

The next job finds these as the worker began. Jobs of a large batch take less than half a
millisecond each: only the next batch does.
"""

import faulthandler
import os
import signal

# Those of the module signal take 0.5 µs for each conversion to an enum.
from _signal import getsignal, pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Protocol

from taskmaster.processes.ipc.stack_dump import DUMP_SIGNAL, dump_stacks_to
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.system.log import enable_loggers
from taskmaster.processes.system.orphans import count_zombies
from taskmaster.processes.worker.output import STANDARD, StandardFiles, flush_c

# A callback may still wait for its child, so the worker reaps none of them.
MOST_ZOMBIES = 100
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# If a callback blocked these, timeouts, stops and stack dumps would not work.
NEEDED = (*WATCHED, signal.SIGALRM, DUMP_SIGNAL)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# No process can handle two of them, and faulthandler handles the other.
NOT_RESTORED = {signal.SIGKILL, signal.SIGSTOP, DUMP_SIGNAL}


class JobGuard(Protocol):
    """The part of the guard that acts between two jobs."""

    def restore(self) -> None:
        """Let the next job find what the worker began with."""


class Guard:
    """Created before the first job. `stop` lets the worker exit.

    SIGINT and SIGHUP have a handler rather than SIG_IGN, because programs that callbacks start
    inherit ignored signals. With `has_timeout`, each run sets the handler of SIGALRM itself.
    """

    def __init__(self, fds: Sequence[int], stack_fd: int, *, has_timeout: bool) -> None:
        self.stop: Callable[[], object] = lambda: None
        self._identities = {fd: identity(fd) for fd in fds}
        self._stack_fd = stack_fd
        self._files = StandardFiles()
        self._mask = pthread_sigmask(signal.SIG_BLOCK, ()) - set(NEEDED)
        kept = NOT_RESTORED | ({signal.SIGALRM} if has_timeout else set())
        self._numbers = [int(number) for number in signal.valid_signals() - kept]
        self._handlers = [
            self.on_signal if number in WATCHED else getsignal(number) for number in self._numbers
        ]

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Exit after the current job on SIGTERM.

        SIGINT and SIGHUP come from the terminal, and the supervisor handles them.
        """
        if number == signal.SIGTERM:
            self.stop()

    def restore(self) -> None:
        """Restore handlers, timers, the signal mask and `sys.stdout`. This takes 3 µs."""
        self._files.restore()
        if list(map(getsignal, self._numbers)) != self._handlers:
            self._restore_handlers()
        for timer in TIMERS:
            signal.setitimer(timer, 0)  # a timer that a callback left would end the next job
        if pthread_sigmask(signal.SIG_BLOCK, ()) != self._mask:
            self._restore_mask()

    def restore_all(self) -> None:
        """Restore also the stack dumps, the loggers and the standard streams, after a batch."""
        self.restore()
        faulthandler.cancel_dump_traceback_later()
        dump_stacks_to(self._stack_fd)  # a callback may have called faulthandler.enable()
        enable_loggers()
        flush_c()
        with suppress(OSError):  # it has closed them: see `damage`
            for fd in STANDARD:
                os.set_blocking(fd, True)  # a child may have set this for all that print

    def _restore_handlers(self) -> None:
        for number, handler in zip(self._numbers, self._handlers, strict=True):
            # None means that the handler was not installed by Python, which cannot restore it.
            if handler is not None and getsignal(number) != handler:
                signal.signal(number, handler)

    def _restore_mask(self) -> None:
        """Let requests to stop arrive now, and forget the other signals that were blocked."""
        for number in signal.sigpending() - set(WATCHED):
            signal.sigtimedwait([number], 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def damage(self) -> str | None:
        """Return why this worker should exit after what its callbacks did, or None."""
        if any(identity(fd) != file for fd, file in self._identities.items()):
            return "a callback has closed this worker's descriptors"
        if count_zombies(most_children=MOST_ZOMBIES) > MOST_ZOMBIES:
            return f"callbacks have left more than {MOST_ZOMBIES} zombies that they do not wait for"
        return None
