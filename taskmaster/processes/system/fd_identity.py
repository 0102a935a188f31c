"""Which file is behind a descriptor. A callback may close ours, and then open a file with its number."""

import os

Identity = tuple[int, int]


def identity(fd: int) -> Identity | None:
    """Return device and inode of the file, or None if the descriptor is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
