"""Orphans: processes whose parent has exited.

The supervisor and each worker adopt the orphans below them, so that they can reap and kill them.
"""

import ctypes
import os
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of all orphans among the processes below this one. Raises OSError.

    The supervisor adopts its workers, because the template forks them twice. A worker adopts the
    processes that its callbacks leave behind. When the worker exits, the supervisor adopts them. So
    any child that the supervisor did not start was left by a callback.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(pid: int | None = None) -> list[int]:
    """Return the pids of the children of a process, by default this one. None if it has ended."""
    pid = pid or os.getpid()
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed.split()]


def count_zombies(*, most_children: int) -> int:
    """Return how many children have exited and are not reaped.

    Return 0 if there are at most `most_children` children, because counting these is cheap and
    looking at each one is not.
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
