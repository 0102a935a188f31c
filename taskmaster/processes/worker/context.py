"""The context of a worker, and the context that its jobs see."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.middleware import Handler
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.system.fd_identity import Identity, identity
from taskmaster.processes.worker.guard import JobGuard
from taskmaster.processes.worker.output import WorkerOutput
from taskmaster.store.connection import Connection


@dataclass(slots=True)
class WorkerJobContext:
    """The worker as its jobs see it: what the attributes and methods of a `Job` return.

    `was_connection_used`: a job has read `job.connection`. `is_forked` is True in a process that a
    callback has forked.
    """

    row: ScoreboardRow
    component: Any = None
    user_connection: Connection | None = None
    was_connection_used: bool = False
    is_forked: bool = False

    @property
    def stopping(self) -> bool:
        return self.row.is_stopping

    @property
    def connection(self) -> Connection:
        if self.user_connection is None:
            raise TaskmasterError(
                "job.connection exists only for consumers with delivery = 'transactional'"
            )
        self.was_connection_used = True
        return self.user_connection

    def progress(self, fraction: float, note: str) -> None:
        self.row.batch.note_progress(fraction, note)


class WorkerContext(NamedTuple):
    """The parts of a worker that stay the same for its lifetime.

    `permits_file` identifies the file behind `permits_fd`, because a callback may close the
    descriptor.
    """

    consumer: Consumer
    worker: str
    row: ScoreboardRow
    permits_fd: int
    handler: Handler
    job_context: WorkerJobContext
    permits_file: Identity | None
    output: WorkerOutput
    guard: JobGuard

    @property
    def has_permits_file(self) -> bool:
        """Whether `permits_fd` still is the permits, whatever callbacks have closed and opened."""
        return identity(self.permits_fd) == self.permits_file

    def allow_starts(self, count: int) -> None:
        """Add permits for `count` jobs, but none if the worker has been asked to exit.

        The request may come between the claim and this call. Since the supervisor sets the stop
        flag before it drains the permits, either this check or that drain takes effect.
        """
        permits.fill(self.permits_fd, count)
        if self.row.is_stopping:
            permits.drain(self.permits_fd)
