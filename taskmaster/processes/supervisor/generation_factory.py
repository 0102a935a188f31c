"""The generation factory: from a configuration to a generation that can be started."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskmaster.errors import InvalidConfig
from taskmaster.processes.ipc.plan import Plan
from taskmaster.processes.ipc.python import this_python
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.supervisor.context import SupervisorContext
from taskmaster.processes.supervisor.exits.counters import Counters
from taskmaster.processes.supervisor.exits.worker_exit import Outbox
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReportService
from taskmaster.processes.supervisor.pool.generation import Generation
from taskmaster.processes.supervisor.pool.pool import WorkerPool
from taskmaster.processes.system.rlimits import allow_open_files, first_open_files
from taskmaster.processes.template.client import TemplateClient

if TYPE_CHECKING:
    from taskmaster.supervisor import Reload, Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFactory:
    """Makes the generations of one supervisor. They share its outbox, counters and reporter."""

    context: SupervisorContext
    outbox: Outbox
    counters: Counters
    crash_reporter: CrashReportService

    def make(self, supervisor: "Supervisor") -> Generation:
        """Return a generation for a configuration. Nothing is started yet. Raises InvalidConfig."""
        worker_count = sum(consumer.concurrency for consumer in supervisor.consumers)
        allow_open_files(worker_count, supervisor.source)
        with ExitStack() as unless_made:
            scoreboard = Scoreboard(worker_count)
            unless_made.callback(os.close, scoreboard.fd)
            generation = self._make(supervisor, scoreboard)
            unless_made.pop_all()
        return generation

    def _make(self, supervisor: "Supervisor", scoreboard: Scoreboard) -> Generation:
        plan = Plan(
            database=self.context.database,
            consumers=supervisor.consumers,
            source=supervisor.source,
            workers=scoreboard.row_count,
            notify_ms=self.context.options.notify_ms,
            metrics_dir=self.context.numbers.directory,
            directory=supervisor.directory,
            open_files=first_open_files(),
            log_format=supervisor.log_format,
        )
        pool = WorkerPool(
            consumers=supervisor.consumers,
            options=self.context.options,
            scoreboard=scoreboard,
            outbox=self.outbox,
            counters=self.counters,
            numbers=self.context.numbers,
        )
        template = TemplateClient(plan, scoreboard.fd, self.context.lifeline.read_fd, this_python())
        return Generation(pool, template, self.crash_reporter)

    def make_next(self, supervisor: "Supervisor", reload: "Reload") -> Generation | None:
        """Read the configuration again. Return None as long as it is being read.

        Raises TaskmasterError if it cannot be used.
        """
        newer = reload()
        if newer is None:
            return None
        _refuse_changes(supervisor, newer)
        return self.make(newer)


def _refuse_changes(supervisor: "Supervisor", newer: "Supervisor") -> None:
    """Raise InvalidConfig if something changed that only a restart can change."""
    for name in ("database_url", "schema", "options"):
        if getattr(supervisor, name) != getattr(newer, name):
            what = "[supervisor]" if name == "options" else name
            raise InvalidConfig(
                f"{supervisor.source}: {what} has changed, and only a restart can change it"
            )
