"""Permits to start the jobs of a batch: the supervisor can withdraw jobs that have not started.

Each worker has an eventfd semaphore. The worker adds one permit per claimed job and takes one
before each start. The supervisor drains the permits before it releases jobs. The number of drained
permits is the number of jobs at the end of the batch that will not start, and since the kernel
counts, worker and supervisor always agree on it.
"""

import os


def create() -> int:
    """Return the descriptor of a new semaphore."""
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def fill(fd: int, count: int) -> None:
    """Add `count` permits."""
    os.eventfd_write(fd, count)


def take(fd: int) -> bool:
    """Take one permit. Return False if there is none."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return False
    return True


def drain(fd: int) -> int:
    """Take all permits that are left, and return their number."""
    drained = 0
    while take(fd):
        drained += 1
    return drained
