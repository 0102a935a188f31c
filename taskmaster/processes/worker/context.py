"""What a worker lends to the jobs that it runs."""

from dataclasses import dataclass
from typing import Any

from taskmaster.errors import TaskmasterError
from taskmaster.processes.shared.scoreboard import STOP, ScoreboardRow
from taskmaster.store.connection import Connection


@dataclass(slots=True)
class WorkerJobContext:
    """What jobs see of their worker. `lent`: a job has asked for the connection. `forked` is True in a process that a
    callback has forked.
    """

    row: ScoreboardRow
    component: Any = None
    user_connection: Connection | None = None
    connection_used: bool = False
    forked: bool = False

    @property
    def stopping(self) -> bool:
        return bool(self.row.cells[STOP])

    @property
    def connection(self) -> Connection:
        if self.user_connection is None:
            raise TaskmasterError(
                "job.connection is there for consumers with delivery = 'transactional' only"
            )
        self.connection_used = True
        return self.user_connection

    def progress(self, fraction: float, note: str) -> None:
        self.row.note_progress(fraction, note)
