"""Stock of what a fork shares or loses: threads, descriptors and child processes of this process.

The template takes stock before and after each import, and so does `taskmaster check`. It is read
from /proc, so what C code has made is seen too.
"""

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

TASKS = Path("/proc/self/task")
DESCRIPTORS = "/proc/self/fd"
# They are started by the first semaphore or shared memory, and are meant to be shared by forks.
TRACKERS = ("multiprocessing.resource_tracker", "multiprocess.resource_tracker")
# jemalloc, which pyarrow and so pandas bring along, holds its locks around a fork.
SAFE_IN_FORKS = ("jemalloc_bg_thd",)


class Thread(NamedTuple):
    """A thread, and the packages whose code it runs. C code that starts one gives no packages."""

    name: str
    packages: frozenset[str] = frozenset()
    is_of_python: bool = False


class Stock(NamedTuple):
    """Threads by their id, links of descriptors, names of children by their pid, and modules.

    The link of a descriptor is what /proc shows, like "socket:[4711]".
    """

    threads: Mapping[int, Thread]
    descriptors: Mapping[int, str]
    children: Mapping[int, str]
    modules: frozenset[str]

    def since(self, before: "Stock") -> "Stock":
        """Return what came in after `before` was taken. A duplicate of a descriptor is not new."""
        known = {link for link in before.descriptors.values() if _is_unique(link)}
        descriptors = {
            fd: link
            for fd, link in self.descriptors.items()
            if before.descriptors.get(fd) != link and link not in known
        }
        return Stock(
            {one: thread for one, thread in self.threads.items() if one not in before.threads},
            descriptors,
            {pid: name for pid, name in self.children.items() if pid not in before.children},
            self.modules - before.modules,
        )


def take_stock() -> Stock:
    """Return what this process has now."""
    return Stock(_threads(), _descriptors(), _children(), frozenset(sys.modules))


def _is_unique(link: str) -> bool:
    """Return whether no other file has this link. All epoll descriptors have the same, say."""
    return link.startswith(("socket:", "pipe:", "/"))


def _threads() -> dict[int, Thread]:
    """Return the threads besides the main one and those that forks need not mind."""
    own_names = _own_names()
    of_python = {thread.native_id: thread for thread in threading.enumerate()}
    found = {}
    for task in _entries(TASKS):
        if task in of_python:
            found[task] = Thread(of_python[task].name, _packages(of_python[task]), True)
        elif (name := _read(TASKS / str(task) / "comm")) and name not in SAFE_IN_FORKS:
            found[task] = Thread("of C code" if name in own_names else name)
    found.pop(os.getpid(), None)
    return found


def _own_names() -> tuple[str, str]:
    """Return the names that threads of C code and forks have: that of this process or of Python."""
    return _read(TASKS / str(os.getpid()) / "comm"), Path(sys.executable).name[:15]


def _packages(thread: threading.Thread) -> frozenset[str]:
    """Return the packages whose code a thread runs, without those of Python."""
    frame = sys._current_frames().get(thread.ident or 0)
    modules = [type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", "")]
    while frame is not None:
        modules.append(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    packages = {str(module).partition(".")[0] for module in modules if module}
    return frozenset(packages - sys.stdlib_module_names)


def _descriptors() -> dict[int, str]:
    of_trackers = {tracker._fd for tracker in _trackers()}
    found = {}
    for fd in _entries(Path(DESCRIPTORS)):
        try:
            link = os.readlink(f"{DESCRIPTORS}/{fd}")  # noqa: PTH115 — it is no path
        except OSError:  # it was the descriptor of the listing
            continue
        if fd not in of_trackers:
            found[fd] = link
    return found


def _children() -> dict[int, str]:
    """Return the child processes that run. They are listed by the thread that started them."""
    listed = [_read(TASKS / str(task) / "children").split() for task in _entries(TASKS)]
    pids = {pid for some in listed for pid in some} - {str(one._pid) for one in _trackers()}
    names = {int(pid): _read(Path(f"/proc/{pid}/comm")) for pid in pids if _is_running(pid)}
    own_names = _own_names()
    return {pid: "python" if name in own_names else name for pid, name in names.items()}


def _trackers() -> list[Any]:
    """Return the resource trackers of the modules that are imported."""
    return [sys.modules[name]._resource_tracker for name in TRACKERS if name in sys.modules]


def _is_running(pid: str) -> bool:
    """Return whether a child has not ended. One that nothing has waited for is still listed."""
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1]
    return state not in ([], ["Z"])


def _entries(directory: Path) -> list[int]:
    """Return the numbers in a directory of /proc, or none if this process may not look at itself.

    That happens after PR_SET_DUMPABLE.
    """
    try:
        return sorted(int(entry.name) for entry in directory.iterdir())
    except PermissionError:
        return []


def _read(path: Path) -> str:
    """Return the text of a file of /proc, or nothing if its process or thread has ended."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
