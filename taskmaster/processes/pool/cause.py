"""What a worker died of: wait statuses in words, kernel kills for want of memory, boots that failed."""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from taskmaster.processes.ledger.worker_exit import Usage, WorkerExit
from taskmaster.processes.pool.slot import WorkerSlot
from taskmaster.processes.pool.worker_process import WorkerProcess
from taskmaster.processes.shared import limits
from taskmaster.processes.shared.output import tails

IN_ORDER = "exit code 0"
OUT_OF_MEMORY = "out of memory"
OOM_LOOK_SECONDS = 2.0  # more than a killed process needs to be waited for
OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
CGROUPS = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
VMSTAT = Path("/proc/vmstat")


def worker_exit_of(
    slot: WorkerSlot, process: WorkerProcess, cause: str, usage: Usage
) -> WorkerExit:
    """The end of a worker that was waited for. Condemned for a job that had ended by then, it charges nobody."""
    unsettled_batch, excess = slot.row.unsettled_batch(), process.condemned
    run = (
        None
        if unsettled_batch is None
        else (unsettled_batch.running, unsettled_batch.running_since_ns)
    )
    innocent = excess is not None and run != (excess.job, excess.began_ns)
    if innocent:
        excess = None
    return WorkerExit(
        slot.consumer,
        process.name,
        process.pid or 0,
        cause if excess is None else excess.cause,
        process.cut_off or innocent,
        unsettled_batch,
        time.monotonic_ns(),
        usage,
        excess,
        limits.read_stack(process.stack_fd),
        tails(process.output.fds(), unsettled_batch.written) if unsettled_batch else ("", ""),
        slot.row.backend,
        slot.row.lost_leases,
        slot.row.claims,
    )


@dataclass(slots=True)
class OomWatch:
    """Tells what a process died of. A SIGKILL that came with an OOM kill of the kernel's was one.

    `oom_kills`: how many there were a while ago; `recent`: at the last look. The kernel counts for all processes of a
    cgroup, so a kill that was no worker's must be forgotten before a SIGKILL comes from somebody else.
    """

    oom_kills: int = field(default_factory=lambda: oom_kills())
    recent: int = field(init=False)
    looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.recent = self.oom_kills

    def look(self, now: float) -> None:
        """Forget what is older than two looks."""
        if now - self.looked_at >= OOM_LOOK_SECONDS:
            self.oom_kills, self.recent, self.looked_at = self.recent, oom_kills(), now

    def cause(self, status: int) -> str:
        """A wait status in words: `exit code 3`, `signal SIGKILL`, `out of memory`."""
        found = cause(status)
        if found == "signal SIGKILL":
            before, self.oom_kills = self.oom_kills, oom_kills()
            self.recent = self.oom_kills
            return OUT_OF_MEMORY if self.oom_kills > before else found
        return found


def cause(status: int) -> str:
    """A wait status in words, as it stands."""
    return in_words(os.waitstatus_to_exitcode(status))


def in_words(code: int) -> str:
    """An exit code as `subprocess` has it; negative: the signal that ended the process."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def oom_kills() -> int:
    """How often the kernel has ended a process for want of memory: of our cgroup, or of the machine where none counts.

    A cgroup counts its processes "killed by any kind of OOM killer" (the kernel's cgroup-v2.rst, memory.events), so
    what the machine is short of is seen there too, and a kill in another container is not taken for ours.
    """
    ours = [found for path in _cgroup_files() if (found := _count(path)) is not None]
    return sum(ours) if ours else _count(VMSTAT) or 0


def _cgroup_files() -> Iterator[Path]:
    """Where our cgroups count: memory.events in version 2, memory.oom_control in version 1."""
    for line in _text(CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield CGROUP_ROOT / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield CGROUP_ROOT / "memory" / path.lstrip("/") / "memory.oom_control"


def _count(path: Path) -> int | None:
    found = OOM_KILLS.search(_text(path))
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not on this system
        return ""


def refused(slot: WorkerSlot) -> bool:
    """Did the worker find its configuration impossible? Another would find the same."""
    return not slot.row.booted and any(entry.get("final") for entry in slot.row.entries())


def boot_failure(slot: WorkerSlot, worker_exit: WorkerExit) -> str:
    """Why it makes no sense to go on, in a sentence."""
    reasons = [entry["boot"] for entry in slot.row.entries() if "boot" in entry]
    reason = (
        reasons[-1] if reasons else f"consumer {slot.consumer.queue_name!r}: {worker_exit.cause}"
    )
    if refused(slot):
        return str(reason)
    return f"{slot.failed_boots} workers in a row died before their first claim; the last: {reason}"
