"""The context of a worker that has no process of its own."""

from taskmaster.consumer import Consumer
from taskmaster.middleware import Handler
from taskmaster.processes.ipc.scoreboard import ScoreboardRow
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.worker.context import WorkerContext, WorkerJobContext
from taskmaster.processes.worker.output import WorkerOutput


class Unguarded:
    """A guard that leaves the signals of the tests alone."""

    def restore(self) -> None:
        """Do nothing."""


def worker_context(
    consumer: Consumer, row: ScoreboardRow, permits_fd: int, handler: Handler
) -> WorkerContext:
    """Return the context of the worker "w" with this row."""
    return WorkerContext(
        consumer=consumer,
        worker="w",
        row=row,
        permits_fd=permits_fd,
        handler=handler,
        job_context=WorkerJobContext(row),
        permits_file=identity(permits_fd),
        output=WorkerOutput(row),
        guard=Unguarded(),
    )
