"""The guard against callbacks that change the worker's descriptors, signals, timers or loggers.

The worker runs it after each batch.
"""

import faulthandler
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from taskmaster.processes.ipc.stack_dump import DUMP_SIGNAL, dump_stacks_to
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.system.log import enable_loggers
from taskmaster.processes.system.orphans import count_zombies
from taskmaster.processes.worker.output import STANDARD

# A callback may still wait for its child, so the worker reaps none of them.
MOST_ZOMBIES = 100
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# If a callback ignored SIGCHLD, the next callback would lose the exit codes of its children. The
# others have similar effects. SIGALRM is missing here because each run with a timeout sets it. Its
# timer is cancelled below, because without a handler the alarm would end the worker.
RESTORED = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
# If a callback blocked these, timeouts, stops and stack dumps would not work.
NEEDED = (*WATCHED, signal.SIGALRM, DUMP_SIGNAL)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Guard:
    """Created before the first job, called after each batch. `stop` lets the worker exit."""

    def __init__(self, fds: Sequence[int], stop: Callable[[], object], stack_fd: int) -> None:
        self._identities = {fd: identity(fd) for fd in fds}
        self._stop = stop
        self._stack_fd = stack_fd
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) - set(NEEDED)
        self._handlers = {number: signal.getsignal(number) for number in RESTORED}

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Exit after the current job on SIGTERM.

        SIGINT and SIGHUP come from the terminal, and the supervisor handles them.
        """
        if number == signal.SIGTERM:
            self._stop()

    def watch_signals(self) -> None:
        """Restore handlers, timers, the signal mask, loggers and the standard streams.

        SIGINT and SIGHUP have a handler rather than SIG_IGN, because programs that callbacks start
        inherit ignored signals.
        """
        for number in WATCHED:
            if signal.getsignal(number) != self.on_signal:
                signal.signal(number, self.on_signal)
        for number, handler in self._handlers.items():
            # None means that the handler was not installed by Python, which cannot restore it.
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        for timer in TIMERS:
            signal.setitimer(timer, 0)  # a timer that a callback left would end the next job
        faulthandler.cancel_dump_traceback_later()
        dump_stacks_to(self._stack_fd)  # a callback may have called faulthandler.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)  # blocked signals arrive now
        enable_loggers()
        with suppress(OSError):  # it has closed them: see `damage`
            for fd in STANDARD:
                os.set_blocking(fd, True)  # a child may have set this for all that print

    def damage(self) -> str | None:
        """Return why this worker should exit after what its callbacks did, or None."""
        if any(identity(fd) != file for fd, file in self._identities.items()):
            return "a callback has closed this worker's descriptors"
        if count_zombies(most_children=MOST_ZOMBIES) > MOST_ZOMBIES:
            return f"callbacks have left more than {MOST_ZOMBIES} zombies that they do not wait for"
        return None
