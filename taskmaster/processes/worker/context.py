"""The context of a worker and of the jobs that it runs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.middleware import Handler
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.system.fd_identity import Identity, identity
from taskmaster.store.connection import Connection


@dataclass(slots=True)
class WorkerJobContext:
    """What jobs see of their worker.

    `was_connection_used`: a job has asked for the connection. `is_forked` is True in a process that
    a callback has forked.
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
    """Where jobs run: what stays the same for the lifetime of a worker.

    `permits_file` is the file behind `permits_fd`, because a callback may close the descriptor.
    """

    consumer: Consumer
    worker: str
    row: ScoreboardRow
    permits_fd: int
    handler: Handler
    job_context: WorkerJobContext
    permits_file: Identity | None

    @property
    def has_permits_file(self) -> bool:
        """Whether the permits are still ours, whatever callbacks have closed and opened."""
        return identity(self.permits_fd) == self.permits_file

    def allow_starts(self, count: int) -> None:
        """Fill in permits to start jobs, but none if the worker was asked to exit since it looked.

        What is put once others have taken over is theirs to run. The supervisor writes the stop
        flag and then drains the permits, so one of the two comes in time.
        """
        permits.fill(self.permits_fd, count)
        if self.row.is_stopping:
            permits.drain(self.permits_fd)
