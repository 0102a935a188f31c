"""The directory of the workers' metric files: in memory if possible, removed at the end.

It is below a directory in which anyone may write, so only names of this user are trusted, and
opening one never blocks. Without a directory, jobs run all the same, and are not counted.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmaster.processes.system.shortage import reason_of

log = logging.getLogger("taskmaster.supervisor")

PREFIX = "taskmaster-metrics-"
SHARED_MEMORY = Path("/dev/shm")
ATTEMPTS = 10
# A name that another user made may be a pipe, which would block, or a link to anything.
DIRECTORY_ONLY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def metrics_directory() -> Iterator[str | None]:
    """Yield a new directory, which stays locked while its supervisor runs, or None.

    Directories without a lock were left by killed supervisors. They are removed first.
    """
    made = _make_somewhere()
    if made is None:
        yield None
        return
    path, lock_fd = made
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock_fd)


def _make_somewhere() -> tuple[str, int] | None:
    """Return a new directory and the descriptor that holds its lock.

    Return None if there is no room for it.
    """
    homes = [SHARED_MEMORY] if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else []
    for home in [*homes, Path(tempfile.gettempdir())]:
        try:
            for directory in home.glob(f"{PREFIX}*"):
                _remove_unless_locked(directory)
            return _make_and_lock(home)
        except OSError as error:
            log.warning("metrics directory not made in %s: %s", home, reason_of(error))
    log.warning("runs are not counted: there is no directory for the metrics of the workers")
    return None


def _make_and_lock(home: Path) -> tuple[str, int]:
    """Return a new directory and the descriptor that holds its lock. Raises OSError.

    If another supervisor removes the directory before it is locked, make another one.
    """
    for _ in range(ATTEMPTS):
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=home)
        lock_fd = _try_lock(Path(directory))
        if lock_fd is not None and Path(directory).exists():
            return directory, lock_fd
        if lock_fd is not None:
            os.close(lock_fd)
    raise BlockingIOError(f"others remove what is made in {home}")


def _remove_unless_locked(directory: Path) -> None:
    lock_fd = _try_lock(directory)
    if lock_fd is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock_fd)


def _try_lock(directory: Path) -> int | None:
    """Return a descriptor that locks a directory of this user.

    Return None if it is locked, gone, no directory, or another user's.
    """
    try:
        fd = os.open(directory, DIRECTORY_ONLY)
    except OSError:
        return None
    if os.fstat(fd).st_uid == os.geteuid() and _is_locked_now(fd):
        return fd
    os.close(fd)
    return None


def _is_locked_now(fd: int) -> bool:
    """Take the lock. Return False if another supervisor holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
