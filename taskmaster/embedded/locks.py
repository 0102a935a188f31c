"""Locks on files, kept by the kernel: a killed process loses them at once."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from taskmaster.errors import EmbeddedUnavailable

LOCK_SECONDS = 90.0
POLL_SECONDS = 0.01

Lock = IO[bytes] | int  # a file, or a descriptor


@contextmanager
def exclusive(lock: Lock, name: Path) -> Iterator[None]:
    """Hold the lock during the block.

    Raises EmbeddedUnavailable, naming the file, if another process holds it for too long.
    """
    if not eventually(lambda: try_lock(lock), LOCK_SECONDS):
        raise EmbeddedUnavailable(
            f"another process has held the lock {name} for {LOCK_SECONDS:.0f} s: end that process"
        )
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def try_lock(file: Lock) -> bool:
    """Take the lock. Return False if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds, at most `seconds`, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return holds
