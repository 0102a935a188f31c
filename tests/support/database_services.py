"""The database services of a supervisor without its processes, run by the test's own clock."""

from collections.abc import Iterator
from contextlib import contextmanager

from taskmaster import SupervisorOptions
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.heartbeat import HeartbeatService
from taskmaster.processes.supervisor.database.scheduler import Scheduler
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import Service
from taskmaster.store.supervisors import HeartbeatReport
from tests.support.store import SCHEMA

MAX_STEPS = 100


class DatabaseServices:
    """Session, heartbeat and scheduler. `now` is their time in seconds."""

    def __init__(self, database_url: str, options: SupervisorOptions, *, idle: bool) -> None:
        self.now = 1000.0
        self.session = DatabaseSession(Database(database_url, SCHEMA))
        scheduler = Scheduler(self.session)
        heartbeat = HeartbeatService(
            self.session,
            options.heartbeat_seconds,
            report=lambda: HeartbeatReport(idle=idle, idle_ms=options.notify_ms),
            on_heartbeat=[scheduler.on_heartbeat],
            on_eviction=lambda: None,
        )
        self.services: list[Service] = [self.session, heartbeat, scheduler]

    def step(self) -> None:
        """Run what is due, and advance the clock to the next due time."""
        for service in self.services:
            service.run_due(self.now)
        self.now = max(self.now, min(service.next_due() for service in self.services))

    def steps_within(self, seconds: float) -> int:
        """Return how often a loop runs in this time, at most a hundred times."""
        end, steps = self.now + seconds, 0
        while self.now < end and steps < MAX_STEPS:
            self.step()
            steps += 1
        return steps


@contextmanager
def database_services(
    database_url: str, options: SupervisorOptions, *, idle: bool = False
) -> Iterator[DatabaseServices]:
    """Yield the services, and close their session."""
    services = DatabaseServices(database_url, options, idle=idle)
    try:
        yield services
    finally:
        services.session.close()
