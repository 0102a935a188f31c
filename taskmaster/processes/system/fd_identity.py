"""The identity of the file behind a descriptor.

A callback may close a descriptor of its worker. Another file that is opened later has its number.
"""

import os

Identity = tuple[int, int]


def identity(fd: int) -> Identity | None:
    """Return the device and inode of the file, or None if the descriptor is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
