"""What a worker cannot do without and a callback may have changed: its descriptors and signal handlers."""

import faulthandler
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from taskmaster.processes.ipc.stack_dump import DUMP_SIGNAL
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.system.orphans import count_zombies

# Only the callbacks know whether they will still wait for a child, so the worker reaps none of
# them.
MOST_ZOMBIES = 100
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A callback that ignores SIGCHLD would take exit codes from the children of the next one, and so
# on. SIGALRM is set by each run that has a timeout. Its alarm is cancelled below: without a handler
# it would end the worker.
RESTORED = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
# A callback that blocks these would have no timeout, and leave no stack.
NEEDED = (*WATCHED, signal.SIGALRM, DUMP_SIGNAL)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Guard:
    """Made before the first job, asked after each batch. `stop` lets the worker exit."""

    def __init__(self, fds: Sequence[int], stop: Callable[[], object]) -> None:
        self._identities = {fd: identity(fd) for fd in fds}
        self._stop = stop
        self._handlers = {number: signal.getsignal(number) for number in RESTORED}

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Exit after the current job on SIGTERM. Ctrl-C and hang-up of the terminal are the supervisor's."""
        if number == signal.SIGTERM:
            self._stop()

    def watch_signals(self) -> None:
        """Restore handlers, timers and the signal mask.

        These are handlers rather than SIG_IGN, because programs started here would inherit what is
        ignored.
        """
        for number in WATCHED:
            if signal.getsignal(number) != self.on_signal:
                signal.signal(number, self.on_signal)
        for number, handler in self._handlers.items():
            # None: the handler was not installed from Python, so Python cannot restore it.
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        for timer in TIMERS:
            signal.setitimer(timer, 0)  # a timer that a callback left would end the next job
        faulthandler.cancel_dump_traceback_later()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NEEDED)  # blocked signals arrive now

    def damage(self) -> str | None:
        """Return why this worker should exit after what its callbacks did, or None."""
        if any(identity(fd) != file for fd, file in self._identities.items()):
            return "a callback has closed this worker's descriptors"
        if count_zombies(most_children=MOST_ZOMBIES) > MOST_ZOMBIES:
            return f"callbacks have left more than {MOST_ZOMBIES} zombies that they do not wait for"
        return None
