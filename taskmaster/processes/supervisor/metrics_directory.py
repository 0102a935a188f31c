"""The directory in which the workers count: in memory where there is such a place, and gone with its supervisor."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "taskmaster-metrics-"
SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def counting_directory() -> Iterator[str]:
    """A directory of our own. Who holds its lock lives: what killed supervisors have left is removed first."""
    home = (
        SHARED_MEMORY
        if os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
        else Path(tempfile.gettempdir())
    )
    for left in home.glob(f"{PREFIX}*"):
        _remove_unless_held(left)
    directory, held = _made_and_held(home)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def _made_and_held(home: Path) -> tuple[str, int]:
    """One that nobody has taken for a left one before it was locked; the descriptor that holds the lock."""
    while True:
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=home)
        try:
            held = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(held, fcntl.LOCK_EX)  # whoever removes it lets go at once
        if Path(directory).exists():
            return directory, held
        os.close(held)


def _remove_unless_held(directory: Path) -> None:
    try:
        held = os.open(directory, os.O_RDONLY)
    except OSError:  # somebody else's, or gone
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(held)
