"""A generation: template and workers of one loaded configuration. A reload runs two for a while."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskmaster.errors import WorkersFailed
from taskmaster.processes.ipc.messages import Forked
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReportService
from taskmaster.processes.supervisor.pool.pool import WorkerPool
from taskmaster.processes.supervisor.pool.spawner import Spawner
from taskmaster.processes.template.client import TemplateClient


@dataclass(slots=True)
class Generation:
    """Keeps the configured number of workers running until it is stopped."""

    pool: WorkerPool
    template: TemplateClient
    crash_reporter: CrashReportService
    spawner: Spawner = field(init=False)

    def __post_init__(self) -> None:
        self.spawner = Spawner(self.pool, self.template)

    @property
    def is_gone(self) -> bool:
        """Whether it was stopped and its last worker has exited."""
        return self.pool.is_stopping and not any(self.pool.processes())

    def run_due(self, now: float, supervisor_id: int | None, elsewhere: Mapping[str, int]) -> None:
        """Keep the template running, fill vacant slots, and look after the workers.

        Raises InvalidConfig and WorkersFailed.
        """
        if not self.pool.is_stopping:
            self.template.run_due(now)
            if supervisor_id is not None:
                self.spawner.fill_slots(supervisor_id, now, elsewhere)
        self.pool.run_due(now)
        self._vacate_lost_forks()

    def try_out(self, now: float, supervisor_id: int) -> bool:
        """Start one canary of each consumer. Return True once all canaries are up.

        Raises InvalidConfig and WorkersFailed if this configuration cannot work.
        """
        self.template.run_due(now)
        is_up = self.template.is_ready and self.spawner.start_canaries(supervisor_id, now)
        if not is_up:
            self.spawner.check_canaries(now)
        self._vacate_lost_forks()
        if self.pool.failure is not None:
            raise WorkersFailed(self.pool.failure)
        return is_up

    def next_due(self, now: float, *, is_registered: bool) -> float:
        """Return when there is something to do."""
        due = min(self.pool.next_due(now), self.spawner.next_due(now, is_registered=is_registered))
        return due if self.pool.is_stopping else min(due, self.template.next_due())

    def on_forked(self, forked: Forked) -> None:
        """Note the pid of a worker or of the crash reporter."""
        if not self.crash_reporter.on_forked(forked):
            self.pool.on_forked(forked)

    def stop(self) -> None:
        """Ask all workers to exit after their current jobs, and kill the template."""
        self.pool.stop()
        self.template.kill()
        self._vacate_lost_forks()

    def kill(self) -> int:
        """Kill all workers without charging their jobs. Return how many were not killed before."""
        return sum(process.kill() for process in self.pool.processes())

    def close(self) -> None:
        """Kill the remaining processes, and close all descriptors."""
        self.template.kill()
        self.kill()
        self.pool.close()
        os.close(self.pool.scoreboard.fd)

    def _vacate_lost_forks(self) -> None:
        lost = self.template.take_lost_forks()
        self.pool.on_fork_lost(lost)
        self.crash_reporter.on_fork_lost(lost)
