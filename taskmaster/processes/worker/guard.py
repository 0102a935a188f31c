"""What a worker cannot do without, and a callback may have taken away: its descriptors and its signal handlers."""

import faulthandler
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from taskmaster.processes.shared.fd_identity import identity
from taskmaster.processes.shared.limits import DUMP
from taskmaster.processes.shared.orphans import dead_children

MOST_DEAD = 100  # only the callbacks know whether they will still wait for a child: they are not waited for here
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A callback that ignores SIGCHLD would take exit codes from the children of the next; and so on. SIGALRM is set by each
# run that has a timeout, and its alarm is cancelled below: with no handler in between, it would end the worker.
RESTORED = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
NEEDED = (
    *WATCHED,
    signal.SIGALRM,
    DUMP,
)  # a callback that blocks them would have no timeout, and leave no stack
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Guard:
    """Made before the first job; asked after each batch."""

    def __init__(self, fds: Sequence[int], leave: Callable[[], object]) -> None:
        self._identities = {fd: identity(fd) for fd in fds}
        self._leave = leave
        self._handlers = {number: signal.getsignal(number) for number in RESTORED}

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self._leave()

    def watch_signals(self) -> None:
        """SIGTERM, to a worker or to all processes of a service: finish the job at hand and leave. The terminal's
        Ctrl-C and hang-up are the supervisor's. Handlers, because what is ignored stays so in programs started here.
        """
        for number in WATCHED:
            if signal.getsignal(number) != self.on_signal:
                signal.signal(number, self.on_signal)
        for number, handler in self._handlers.items():
            if (
                handler is not None and signal.getsignal(number) != handler
            ):  # None: not Python's to set
                signal.signal(number, handler)
        for timer in TIMERS:
            signal.setitimer(timer, 0)  # one that a callback left would end the next job
        faulthandler.cancel_dump_traceback_later()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NEEDED)  # what came meanwhile comes now

    def damage(self) -> str | None:
        """Why this worker should leave after what its callbacks did, in words; None: it may go on."""
        if any(identity(fd) != file for fd, file in self._identities.items()):
            return "a callback has closed this worker's descriptors"
        if dead_children(most=MOST_DEAD) > MOST_DEAD:
            return f"callbacks have left more than {MOST_DEAD} dead processes that nobody waits for"
        return None
