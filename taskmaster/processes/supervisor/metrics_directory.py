"""The directory of the workers' metric files: in memory if possible, removed at the end."""

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
def metrics_directory() -> Iterator[str]:
    """Yield a new directory, which stays locked while its supervisor runs.

    Directories without a lock were left by killed supervisors. They are removed first.
    """
    in_memory = os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    home = SHARED_MEMORY if in_memory else Path(tempfile.gettempdir())
    for directory in home.glob(f"{PREFIX}*"):
        _remove_unless_locked(directory)
    path, lock_fd = _make_and_lock(home)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock_fd)


def _make_and_lock(home: Path) -> tuple[str, int]:
    """Return a new directory and the descriptor that holds its lock.

    If another supervisor removes the directory before it is locked, make another one.
    """
    while True:
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=home)
        try:
            lock_fd = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock_fd, fcntl.LOCK_EX)  # a supervisor that removes it unlocks it at once
        if Path(directory).exists():
            return directory, lock_fd
        os.close(lock_fd)


def _remove_unless_locked(directory: Path) -> None:
    try:
        lock_fd = os.open(directory, os.O_RDONLY)
    except OSError:  # another user's, or gone
        return
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(lock_fd)
