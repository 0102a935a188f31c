"""Processes whose parent has gone: whoever adopts them can wait for them, and end them."""

import ctypes
import os
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of whatever the processes below this one leave behind.

    The supervisor adopts its workers, whose template only forks them. A worker adopts what its callbacks leave; when
    the worker ends, that goes on to the supervisor, which can tell: a child that it does not know was a callback's.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """The pids of this process's children."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
