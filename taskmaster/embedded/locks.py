"""Locks that the kernel keeps: a killed process loses them at once."""

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
def alone(lock: Lock, name: Path) -> Iterator[None]:
    """Hold `lock`. Raises EmbeddedUnavailable, naming the file, when somebody else has it for too long."""
    if not eventually(lambda: try_lock(lock), LOCK_SECONDS):
        raise EmbeddedUnavailable(
            f"somebody has held {name} for {LOCK_SECONDS:.0f} s: end that process"
        )
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def try_lock(file: Lock) -> bool:
    """Lock it, unless somebody else has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def eventually(fact: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is true, at most so long; is it?"""
    deadline = time.monotonic() + seconds
    while not (true := fact()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return true
