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


def dead_children(*, most: int) -> int:
    """How many children are dead and not waited for; 0 as long as there are at most `most` in all."""
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return 0
    except ChildProcessError:
        return 0
    found = children()
    return 0 if len(found) <= most else sum(map(_is_dead, found))


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # waited for meanwhile
        return False


def children() -> list[int]:
    """The pids of this process's children."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
