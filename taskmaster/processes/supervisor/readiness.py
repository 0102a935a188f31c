"""The service that reports, once, that the supervisor is ready."""

from collections.abc import Callable
from dataclasses import dataclass

from taskmaster.processes.supervisor.database.listener import Listener
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.supervisor.snapshot import all_have_been_up


@dataclass(slots=True)
class Readiness(BaseService):
    """Calls `on_ready` once the supervisor listens and each worker slot has had a worker up."""

    listener: Listener
    generations: Generations
    on_ready: Callable[[], object]
    is_reported: bool = False

    def run_due(self, now: float) -> None:
        """Report readiness if it is reached."""
        if self.is_reported or not self.listener.is_up:
            return
        if all_have_been_up(self.generations.current.pool.slots):
            self.is_reported = True
            self.on_ready()
