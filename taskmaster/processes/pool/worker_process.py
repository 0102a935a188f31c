"""One worker process as the supervisor holds it: ordered, then (with a pid) born, in the end killed or let go."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskmaster.processes.shared import limits, permits
from taskmaster.processes.shared.output import Output
from taskmaster.processes.shared.wakeups import WakeupQueue

STACK_SECONDS = 0.05  # for a worker to write its stack, before it is killed
STACK_PATIENCE_SECONDS = 0.5  # beyond that, for one that is not done with it


@dataclass(slots=True)
class WorkerProcess:
    """What the supervisor shares with one worker, from its order to its burial.

    `serial`: of all workers ever; `number`: the smallest that no living one has.
    `waits`: it is a scout of a new generation, and claims nothing until the generation is at work. `cut_off`: the
    supervisor ended it for reasons of its own, so nobody is charged.
    """

    serial: int
    number: int
    name: str
    ordered_at: float
    parked: bool = False
    wakeups: WakeupQueue = field(default_factory=WakeupQueue)
    permits_fd: int = field(default_factory=permits.create)
    stack_fd: int = field(default_factory=lambda: os.memfd_create("taskmaster-stack"))
    output: Output = field(default_factory=Output)
    pid: int | None = None
    cut_off: bool = False
    condemned: limits.Excess | None = None
    kill_at: float = 0.0
    stack_bytes: int = 0
    leave_by: float | None = None

    def fds(self) -> Sequence[int]:
        """What goes with the order, in the order in which `worker_main` takes it."""
        return self.wakeups.reader_fd, self.permits_fd, self.stack_fd, *self.output.fds()

    def close(self) -> None:
        self.wakeups.close()
        self.output.close()
        os.close(self.permits_fd)
        os.close(self.stack_fd)

    def condemn(self, excess: limits.Excess) -> None:
        """Have it write its stack; it is killed a moment later."""
        assert self.pid is not None
        self.condemned, self.kill_at = excess, time.monotonic() + STACK_SECONDS
        os.kill(self.pid, limits.DUMP)

    def is_due(self, now: float) -> bool:
        """Has it had its moment? On a busy machine it may not have come to write its stack, and gets a little more."""
        size = os.fstat(self.stack_fd).st_size
        written, self.stack_bytes = (
            size > 0 and size == self.stack_bytes,
            size,
        )  # nothing more since the last look
        return now >= self.kill_at + (0.0 if written else STACK_PATIENCE_SECONDS)

    def spare(self) -> None:
        """The job ended just in time."""
        self.condemned, self.stack_bytes = None, 0
        os.ftruncate(self.stack_fd, 0)
        os.lseek(self.stack_fd, 0, os.SEEK_SET)

    def kill(self) -> None:
        """End it and everything that it has started, now."""
        self.cut_off = True
        if self.pid is not None:
            kill_group(self.pid)


def kill_group(pid: int) -> None:
    """SIGKILL a worker and its process group, which it may not have founded yet."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (
            ProcessLookupError,
            PermissionError,
        ):  # gone, or somebody else's by setuid: ours to wait for only
            continue
