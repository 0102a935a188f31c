"""Signals as data that the supervisor's loop reads."""

import faulthandler
import os
import select
import signal
import stat
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from taskmaster.errors import TaskmasterError

OUT_AFTER_GRACE_SECONDS = 1.8  # then the kernel kills this process, and the lifeline its children
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
WATCHED = (*STOPS, *IGNORED, signal.SIGHUP, signal.SIGCHLD)
Handler = Callable[[int, FrameType | None], Any] | int | None


class Signals:
    """A context in which the watched signals make `fileno()` readable, and `read` returns them."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._was_asked = False

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise TaskmasterError(
                "Supervisor.run() must be called in the main thread; "
                "elsewhere use Supervisor.start()"
            )
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._old: dict[int, Handler] = {
            number: signal.signal(number, self._on_signal) for number in WATCHED
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fileno(self) -> int:
        return self._read_fd

    def read(self) -> list[int]:
        """Return the signals that arrived since the last call, in order."""
        try:
            return list(os.read(self._read_fd, 4096))
        except BlockingIOError:
            return []

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Set a timer that ends this process if the loop hangs.

        Nothing else is done here: Python has already written the signal to the descriptor. PID 1
        does not end by a signal, but by a thread of faulthandler.
        """
        if number in STOPS:
            is_now = self._was_asked or number == signal.SIGQUIT
            self._was_asked = True
            seconds = OUT_AFTER_GRACE_SECONDS + (0.0 if is_now else self._grace_seconds)
            if os.getpid() == 1:
                faulthandler.dump_traceback_later(seconds, exit=True)
            signal.setitimer(signal.ITIMER_REAL, seconds)


def is_terminal_gone() -> bool:
    """Return whether a terminal of this process has hung up: then SIGHUP does not mean reload."""
    poll = select.poll()
    for fd in (0, 1, 2):
        if stat.S_ISCHR(os.fstat(fd).st_mode):  # isatty() returns False for a terminal that is gone
            poll.register(fd, select.POLLOUT)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
