"""The cause of a worker exit.

It follows from the wait status, the kernel's count of OOM kills, and whether the supervisor killed
the worker itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.exits.worker_exit import (
    Crashed,
    Finished,
    LimitExceeded,
    Reason,
    Shutdown,
)
from taskmaster.processes.system.exit_status import describe_status

IN_ORDER = "exit code 0"
OUT_OF_MEMORY = "out of memory"
SIGKILLED = "signal SIGKILL"
SHUTDOWN = "shutdown"
LOOK_SECONDS = 2.0  # longer than it takes until a killed process is reaped
OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def exit_reason(
    cause: str, batch: UnsettledBatch | None, *, limit: LimitExceeded | None, was_cut_off: bool
) -> Reason:
    """Return why a worker ended.

    `limit` is the limit for which the supervisor condemned it. If that run has ended by then,
    another job of the batch was hit, which must not be charged. `was_cut_off`: the supervisor
    killed it for reasons of its own. That charges no job, even one that was over a limit.
    """
    if was_cut_off:
        return Shutdown(SHUTDOWN if cause == SIGKILLED else cause)
    if limit is not None:
        return limit if _is_current_run(limit, batch) else Shutdown(limit.cause)
    if cause == IN_ORDER and (batch is None or batch.current is None):
        return Finished(cause)
    return Crashed(cause)


def _is_current_run(limit: LimitExceeded, batch: UnsettledBatch | None) -> bool:
    if batch is None:
        return False
    return (batch.current, batch.started_ns) == (limit.job_id, limit.started_ns)


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """The files in which the kernel counts OOM kills. Tests pass files of their own."""

    cgroups: Path = Path("/proc/self/cgroup")
    cgroup_root: Path = Path("/sys/fs/cgroup")
    vmstat: Path = Path("/proc/vmstat")


@dataclass(slots=True)
class OomWatch:
    """Distinguishes an OOM kill by the kernel from any other SIGKILL, by the kernel's counter.

    The kernel counts all processes of a cgroup, so a kill that hit no worker must be forgotten
    before a worker exits by another SIGKILL. `newer` is the counter at the last look, and `older`
    the counter at the look before it.
    """

    files: KernelFiles = KernelFiles()
    older: int = field(init=False)
    newer: int = field(init=False)
    looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.newer = self.older = oom_kills(self.files)

    def run_due(self, now: float) -> None:
        """Forget the kills that are older than two looks."""
        if now - self.looked_at >= LOOK_SECONDS:
            self.older, self.newer, self.looked_at = self.newer, oom_kills(self.files), now

    def cause(self, status: int) -> str:
        """Return a wait status in words: `exit code 3`, `signal SIGKILL`, `out of memory`."""
        described = describe_status(status)
        if described != SIGKILLED:
            return described
        before = self.older
        self.older = self.newer = oom_kills(self.files)
        return OUT_OF_MEMORY if self.newer > before else described


def oom_kills(files: KernelFiles) -> int:
    """Return how many processes the kernel has killed because memory ran out.

    The count is that of our cgroup, or of the machine if no cgroup counts. A cgroup counts its
    processes "killed by any kind of OOM killer" (the kernel's cgroup-v2.rst, memory.events). So
    the count includes kills because the machine ran out of memory, and excludes other containers.
    """
    ours = [found for path in _cgroup_files(files) if (found := _count(path)) is not None]
    return sum(ours) if ours else _count(files.vmstat) or 0


def _cgroup_files(files: KernelFiles) -> Iterator[Path]:
    """Yield the files in which our cgroups count OOM kills.

    That is memory.events in version 2 and memory.oom_control in version 1.
    """
    for line in _read_text(files.cgroups).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield files.cgroup_root / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield files.cgroup_root / "memory" / path.lstrip("/") / "memory.oom_control"


def _count(path: Path) -> int | None:
    found = OOM_KILLS.search(_read_text(path))
    return int(found[1]) if found else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # this system has no such file
        return ""
