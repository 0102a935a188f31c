"""What a worker cannot do without, and a callback may have taken away: its descriptors and its signal handlers."""

import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

Identity = tuple[int, int]


class Guard:
    """Made before the first job; asked after each batch."""

    def __init__(self, fds: Sequence[int], leave: Callable[[], object]) -> None:
        self._identities = {fd: _identity(fd) for fd in fds}
        self._leave = leave

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self._leave()

    def watch_signals(self) -> None:
        """SIGTERM, to a worker or to all processes of a service: finish the job at hand and leave. The terminal's
        Ctrl-C and hang-up are the supervisor's. Handlers, because what is ignored stays so in programs started here.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != self.on_signal:
                signal.signal(number, self.on_signal)

    def intact(self) -> bool:
        """Is every descriptor still what it was?"""
        return all(_identity(fd) == identity for fd, identity in self._identities.items())


def _identity(fd: int) -> Identity | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
