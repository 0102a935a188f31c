"""The init process of a container, PID 1.

The kernel gives PID 1 every process of the container whose parent exits, for example one that was
started by `docker exec`, and spares it the default action of signals. A supervisor kills the
children that it did not start, and relies on that action to be out in time. So it is not PID 1, but
a child of it.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

SI_KERNEL = 0x80  # from the terminal, which has sent the signal to the child too
OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}


def leave_pid_1() -> None:
    """Return in a child if this is PID 1, which then passes signals on and exits as the child does.

    A process with threads stays PID 1, because it cannot be forked safely.
    """
    if os.getpid() != 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        return
    watched = {int(number) for number in signal.valid_signals() - OWN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child:
        _serve(child, watched)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(child: int, watched: set[int]) -> NoReturn:
    """Pass signals on to the child, and reap, until the child has exited."""
    setproctitle("taskmaster init")
    while True:
        received = signal.sigwaitinfo(watched)
        if received.si_signo == signal.SIGCHLD:
            _reap(child)
        elif received.si_code != SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(child, received.si_signo)


def _reap(child: int) -> None:
    """Reap every process that has exited. Exit if the child has."""
    with suppress(ChildProcessError):
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
            if reaped[0] == child:
                code = os.waitstatus_to_exitcode(reaped[1])
                os._exit(code if code >= 0 else 128 - code)
