"""The signals of a process that a callback or a component forks: those of plain Python.

Without this, `Process.terminate()` and `Pool` would wait for ever for a child that inherited the
worker's handler of SIGTERM. A program that is started by exec needs nothing of this.
"""

import os
import signal

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
OURS = "taskmaster.processes."


class Forks:
    """Registered once in each worker, before its component is entered."""

    def __init__(self) -> None:
        self._mask: set[int] = set()

    def register(self) -> None:
        """Block the signals around each fork, until the child has the handlers of plain Python."""
        os.register_at_fork(
            before=self._block, after_in_parent=self._unblock, after_in_child=self._on_fork
        )

    def _block(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _on_fork(self) -> None:
        for number in HANDLED:
            if _is_ours(signal.getsignal(number)):
                is_interrupt = number == signal.SIGINT
                signal.signal(
                    number, signal.default_int_handler if is_interrupt else signal.SIG_DFL
                )
        self._unblock()


def _is_ours(handler: object) -> bool:
    """Return whether a handler belongs to this worker, its template or its timeout."""
    return callable(handler) and str(getattr(handler, "__module__", "")).startswith(OURS)
