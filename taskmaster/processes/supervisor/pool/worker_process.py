"""One worker process as its supervisor sees it, from the order to the exit."""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.messages import WorkerFds
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.ipc.stack_dump import DUMP_SIGNAL
from taskmaster.processes.ipc.wakeups import WakeupQueue
from taskmaster.processes.supervisor.exits.worker_exit import LimitExceeded
from taskmaster.processes.supervisor.pool.output import Output
from taskmaster.processes.system.process_groups import kill_group

STACK_SECONDS = 0.05  # for a worker to write its stack before it is killed
STACK_PATIENCE_SECONDS = 0.5  # longer, for a worker that has not finished writing


@dataclass(slots=True, kw_only=True)
class WorkerProcess:
    """The descriptors that the supervisor shares with one worker, and the state of the process.

    `serial` is unique among all workers of this supervisor, and `number` among the running ones.
    `is_parked`: it is the canary of a reload and claims nothing yet. `is_cut_off`: the supervisor
    killed it for reasons of its own, so no job is charged.
    """

    serial: int
    number: int
    name: str
    ordered_at: float
    is_parked: bool = False
    wakeups: WakeupQueue
    permits_fd: int
    stack_fd: int
    output: Output
    pid: int | None = None
    is_cut_off: bool = False
    limit: LimitExceeded | None = None
    kill_at: float = 0.0
    stack_bytes: int = 0
    exit_by: float | None = None

    @classmethod
    def create(cls, row: ScoreboardRow, **known: Any) -> Self:
        """Return a process of the slot with this row, with new descriptors.

        Raises OSError, and leaves none open then.
        """
        with ExitStack() as unless_created:
            wakeups = WakeupQueue()
            unless_created.callback(wakeups.close)
            permits_fd = permits.create()
            unless_created.callback(os.close, permits_fd)
            stack_fd = os.memfd_create("taskmaster-stack")
            unless_created.callback(os.close, stack_fd)
            output = Output(row)
            unless_created.pop_all()
        return cls(
            wakeups=wakeups, permits_fd=permits_fd, stack_fd=stack_fd, output=output, **known
        )

    def fds(self, recycle_permit_fd: int) -> WorkerFds:
        """Return the descriptors that go to the worker with its order."""
        stdout, stderr = self.output.streams
        assert stdout.writer is not None
        assert stderr.writer is not None
        return WorkerFds(
            wakeups=self.wakeups.reader_fd,
            permits=self.permits_fd,
            stack=self.stack_fd,
            recycle_permit=recycle_permit_fd,
            stdout=stdout.writer,
            stderr=stderr.writer,
        )

    def leave_fds(self) -> None:
        """Close what only the worker needs, which has got its own by now."""
        self.wakeups.close_reader()
        self.output.close_writers()

    def close(self) -> None:
        """Close the supervisor's descriptors."""
        self.wakeups.close()
        self.output.close()
        os.close(self.permits_fd)
        os.close(self.stack_fd)

    def condemn(self, limit: LimitExceeded) -> None:
        """Request the worker's stack. The worker is killed a moment later."""
        assert self.pid is not None
        self.limit, self.kill_at = limit, time.monotonic() + STACK_SECONDS
        os.kill(self.pid, DUMP_SIGNAL)

    def spare(self) -> None:
        """Let a condemned worker go on, because its job ended just in time."""
        self.limit, self.stack_bytes = None, 0
        os.ftruncate(self.stack_fd, 0)
        os.lseek(self.stack_fd, 0, os.SEEK_SET)

    def has_had_time_for_stack(self, now: float) -> bool:
        """Return whether to kill the condemned worker now.

        On a busy machine, writing the stack may take longer, so the worker gets a little more time.
        """
        size = os.fstat(self.stack_fd).st_size
        is_written = size > 0 and size == self.stack_bytes  # not grown since the last look
        self.stack_bytes = size
        return now >= self.kill_at + (0.0 if is_written else STACK_PATIENCE_SECONDS)

    def kill(self) -> bool:
        """Kill the worker and the processes that it has started, without charging its job.

        Return False if this was done before.
        """
        is_first, self.is_cut_off = not self.is_cut_off, True
        if self.pid is not None:
            kill_group(self.pid)
        return is_first
