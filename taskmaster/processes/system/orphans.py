"""Orphans: processes whose parent has exited. The process that adopts them can reap and kill them."""

import ctypes
import os
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of all orphans among the processes below this one. Raises OSError.

    The supervisor adopts its workers, which the template only forks. A worker adopts what its
    callbacks leave. When the worker exits, these orphans go to the supervisor. A child that the
    supervisor did not start was left by a callback.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """Return the pids of this process's children."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def count_zombies(*, most_children: int) -> int:
    """Return how many children have exited and are not reaped.

    It is 0 as long as there are at most `most_children` children in all, which is cheap to find
    out.
    """
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return 0
    except ChildProcessError:
        return 0
    found = children()
    return 0 if len(found) <= most_children else sum(map(_is_zombie, found))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # it was reaped in between
        return False
