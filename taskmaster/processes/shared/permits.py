"""Permits to start the jobs of a batch: the kernel decides between a worker's start and a supervisor's taking back.

An eventfd semaphore per worker. The worker puts in one unit per claimed job and takes one before each start; the
supervisor drains it before it gives jobs back, and knows by the number drained how many jobs at the end of the batch
will not be started.
"""

import os


def create() -> int:
    """A new semaphore's descriptor."""
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def fill(fd: int, count: int) -> None:
    """Allow `count` more starts."""
    os.eventfd_write(fd, count)


def take(fd: int) -> bool:
    """Take the permit for one start; False when they were taken back."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return False
    return True


def drain(fd: int) -> int:
    """Take all that are left; how many."""
    drained = 0
    while take(fd):
        drained += 1
    return drained
