"""Which file a descriptor stands for: a callback may close ours, and what it opens then has their numbers."""

import os

Identity = tuple[int, int]


def identity(fd: int) -> Identity | None:
    """Device and inode; None: it is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
