"""Kill a worker with all processes of its group, except Python's resource tracker.

The tracker of `multiprocessing` removes shared memory and semaphores that a process has left. It
does so by itself when all processes that use it have ended.
"""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from taskmaster.processes.system.orphans import children
from taskmaster.processes.system.shortage import is_shortage

TRACKERS = (b"multiprocessing.resource_tracker", b"multiprocess.resource_tracker")
ROUNDS = 10  # processes of the group may start others while they are being killed


def kill_group(pid: int) -> None:
    """Send SIGKILL to a worker and its process group, which it may not have created yet.

    Without a free descriptor no tracker can be seen, and all of the group is killed.
    """
    try:
        _kill_but_trackers(pid)
    except OSError as error:
        if not is_shortage(error):
            raise
        _kill(os.killpg, pid)
    _kill(os.kill, pid)


def is_tracker(pid: int) -> bool:
    """Return whether a process is a resource tracker of Python."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False
    return any(tracker in command for tracker in TRACKERS)


def _kill_but_trackers(group: int) -> None:
    trackers = {child for child in (*children(group), *children()) if _is_tracker_of(child, group)}
    if trackers:
        _kill_others(group, trackers)
    else:
        _kill(os.killpg, group)


def _is_tracker_of(pid: int, group: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getpgid(pid) == group and is_tracker(pid)
    return False


def _kill_others(group: int, trackers: Iterable[int]) -> None:
    """Kill the processes of a group one by one, until there are no more but the trackers."""
    known = set(trackers)
    for _ in range(ROUNDS):
        others = _members(group) - known
        for pid in others:
            _kill(os.kill, pid)
        if not others:
            break
        known |= others


def _members(group: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it has ended, or the entry is no process
            if os.getpgid(int(entry.name)) == group:
                found.add(int(entry.name))
    return found


def _kill(how: Callable[[int, int], None], pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has exited, or runs as another user
        how(pid, signal.SIGKILL)
