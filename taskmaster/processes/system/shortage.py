"""A shortage: the system has too few descriptors, processes, memory or space now.

A shortage ends by itself or by an operator. So nothing that runs is ended by it, and what could not
be started is tried again.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("taskmaster.supervisor")

SHORT = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS),  # descriptors
        errno.EAGAIN,  # processes: fork(2) has no other word for them
        *(errno.ENOMEM, errno.ENOBUFS),
        *(errno.ENOSPC, errno.EDQUOT),
    }
)
QUIET_SECONDS = 60.0
PAUSE_SECONDS = 0.25


def is_shortage(error: BaseException) -> bool:
    """Return whether the error says that a resource of the system is short."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORT)


def reason_of(error: BaseException) -> str:
    """Return the system's words for the error, without a path."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number is not None else str(error) or "out of memory"


@dataclass(slots=True)
class ShortageLog:
    """Logs a failure once, and again if its reason changes or after a minute without it."""

    clock: Callable[[], float] = time.monotonic
    last: dict[str, tuple[str, float]] = field(default_factory=dict)

    def warn(self, what: str, reason: str) -> None:
        """Log that `what` failed, unless that was logged in this series of failures."""
        now = self.clock()
        known, at = self.last.get(what, ("", -QUIET_SECONDS))
        self.last[what] = reason, now
        if known != reason or now - at > QUIET_SECONDS:
            log.warning("%s, retrying: %s", what, reason)


shortages = ShortageLog()


@dataclass(slots=True)
class ShortageGuard:
    """Runs work that a shortage may interrupt, and sets its owner aside for a moment then."""

    paused_until: dict[str, float] = field(default_factory=dict)

    def run(self, owner: str, work: Callable[[], object]) -> None:
        """Run `work` unless its owner is set aside. Raise whatever is not a shortage."""
        if self.paused_until and self.resume_at(owner):
            return
        try:
            work()
        except (OSError, MemoryError) as error:
            if not is_shortage(error):
                raise
            shortages.warn(f"resource short: {owner}", reason_of(error))
            self.paused_until[owner] = time.monotonic() + PAUSE_SECONDS
        else:
            self.paused_until.pop(owner, None)

    def resume_at(self, owner: str) -> float:
        """Return until when the owner is set aside, or 0."""
        until = self.paused_until.get(owner, 0.0)
        return until if until > time.monotonic() else 0.0
