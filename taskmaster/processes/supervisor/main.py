"""The supervisor process: create the services, connect them, and run them in their order."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from taskmaster.embedded import directory_of, resolve_url
from taskmaster.errors import InvalidConfig
from taskmaster.processes.ipc.lifeline import Lifeline
from taskmaster.processes.ipc.plan import Database, Plan
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.ipc.snapshot import Snapshot
from taskmaster.processes.supervisor.context import SupervisorContext
from taskmaster.processes.supervisor.database.heartbeat import HeartbeatService
from taskmaster.processes.supervisor.database.listener import Listener, Notifications
from taskmaster.processes.supervisor.database.rescuer import Rescuer
from taskmaster.processes.supervisor.database.scheduler import Scheduler
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.embedded_service import EmbeddedService
from taskmaster.processes.supervisor.exits.counters import Counters
from taskmaster.processes.supervisor.exits.settlements import PendingSettlements
from taskmaster.processes.supervisor.exporter_service import exporter_service
from taskmaster.processes.supervisor.log_service import LogService
from taskmaster.processes.supervisor.loop import Loop
from taskmaster.processes.supervisor.metrics_directory import metrics_directory
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReporter
from taskmaster.processes.supervisor.pool.generation import Generation
from taskmaster.processes.supervisor.pool.pool import WorkerPool
from taskmaster.processes.supervisor.pool.reaper import Reaper
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.pool.waking import wake, wake_one_each
from taskmaster.processes.supervisor.pool.worker_numbers import WorkerNumbers
from taskmaster.processes.supervisor.readiness import Readiness
from taskmaster.processes.supervisor.service import ChildService, Service
from taskmaster.processes.supervisor.shutdown import Shutdown
from taskmaster.processes.supervisor.signals import Signals
from taskmaster.processes.supervisor.snapshot import (
    all_up,
    any_idle,
    heartbeat_report,
    queue_states,
    worker_names,
)
from taskmaster.processes.system.orphans import adopt_orphans
from taskmaster.processes.system.rlimits import allow_open_files
from taskmaster.processes.system.stdio import keep_for_stdio
from taskmaster.processes.template.client import TemplateClient
from taskmaster.store.supervisors import Heartbeat

if TYPE_CHECKING:
    from taskmaster.supervisor import Supervisor


def run(
    supervisor: "Supervisor",
    *,
    on_ready: Callable[[], object],
    reload: "Callable[[], Supervisor] | None",
) -> None:
    """Run in this process until SIGTERM or SIGINT. See `Supervisor.run`."""
    keep_for_stdio()
    options = supervisor.options
    with ExitStack() as stack:
        url = stack.enter_context(resolve_url(supervisor.database_url))
        signals = stack.enter_context(Signals(options.grace_seconds))
        setproctitle("taskmaster supervisor")
        adopt_orphans()
        lifeline = stack.enter_context(closing(Lifeline()))
        metrics_dir = stack.enter_context(metrics_directory()) if options.http else None
        context = SupervisorContext(
            Database(url, supervisor.schema), lifeline, options, WorkerNumbers(metrics_dir)
        )
        assembly = Assembly(
            supervisor=supervisor,
            context=context,
            signals=signals,
            on_ready=on_ready,
            reload=reload or (lambda: supervisor),
        )
        stack.enter_context(closing(assembly.loop())).run()


@dataclass(slots=True)
class Assembly:
    """The services of one supervisor, and the calls between them."""

    supervisor: "Supervisor"
    context: SupervisorContext
    signals: Signals
    on_ready: Callable[[], object]
    reload: "Callable[[], Supervisor]"
    counters: Counters = field(default_factory=Counters)
    session: DatabaseSession = field(init=False)
    settlements: PendingSettlements = field(init=False)
    crash_reporter: CrashReporter = field(init=False)
    generations: Generations = field(init=False)
    scheduler: Scheduler = field(init=False)
    rescuer: Rescuer = field(init=False)
    listener: Listener = field(init=False)
    shutdown: Shutdown = field(init=False)

    def __post_init__(self) -> None:
        context, options = self.context, self.context.options
        self.session = DatabaseSession(context.database)
        self.crash_reporter = CrashReporter(lambda: self.generations.current.template)
        self.settlements = PendingSettlements(
            self.session, self.crash_reporter.report, lambda: worker_names(self.generations)
        )
        first = self._generation(self.supervisor)
        self.generations = Generations(first, self._next_generation, self.session)
        self.scheduler = Scheduler(self.session)
        self.rescuer = Rescuer(self.session, options)
        self.listener = Listener(
            context.database, self._on_notifications, lambda: self.session.is_open
        )
        self.shutdown = Shutdown(
            options, self.generations, self.crash_reporter.on_stop, self.crash_reporter.is_awaited
        )

    def loop(self) -> Loop:
        """Return the loop with all services.

        The heartbeat comes before everything that may wait for a lock. Services are closed in the
        opposite order: children before the reaper, the reaper before the settlements, the session
        last.
        """
        children = self._child_services()
        reaper = Reaper(self.generations, self.crash_reporter, children, self.signals)
        services: Sequence[Service] = [
            self.session,
            self._heartbeat(),
            self.settlements,
            self.rescuer,
            self.scheduler,
            self.listener,
            self.shutdown,
            self.generations,
            self.crash_reporter,
            reaper,
            LogService(),
            *children,
            Readiness(self.listener, self.generations, self.on_ready),
        ]
        return Loop(
            services=services,
            signals=self.signals,
            shutdown=self.shutdown,
            generations=self.generations,
            reaper=reaper,
        )

    # -- services and generations

    def _heartbeat(self) -> HeartbeatService:
        options = self.context.options
        return HeartbeatService(
            self.session,
            options.heartbeat_seconds,
            report=lambda: heartbeat_report(
                self.generations, self.counters, notify_ms=options.notify_ms
            ),
            on_heartbeat=self._on_heartbeat,
            on_eviction=self.generations.kill_all,
        )

    def _child_services(self) -> list[ChildService]:
        services: list[ChildService] = []
        http, metrics_dir = self.context.options.http, self.context.numbers.directory
        if http is not None and metrics_dir is not None:
            database, source = self.context.database, self.supervisor.source
            services.append(
                exporter_service(http, database, metrics_dir, self._snapshot, source=source)
            )
        directory = directory_of(self.supervisor.database_url)
        if directory is not None:
            services.append(EmbeddedService(directory, self.session))
        return services

    def _generation(self, supervisor: "Supervisor") -> Generation:
        """Return a generation for a configuration. Nothing is started yet."""
        worker_count = sum(consumer.concurrency for consumer in supervisor.consumers)
        allow_open_files(worker_count, supervisor.source)
        scoreboard = Scoreboard(worker_count)
        plan = Plan(
            database=self.context.database,
            consumers=supervisor.consumers,
            source=supervisor.source,
            workers=worker_count,
            notify_ms=self.context.options.notify_ms,
            metrics_dir=self.context.numbers.directory,
        )
        pool = WorkerPool(
            consumers=supervisor.consumers,
            options=self.context.options,
            scoreboard=scoreboard,
            outbox=self.settlements,
            counters=self.counters,
            numbers=self.context.numbers,
        )
        template = TemplateClient(plan, scoreboard.fd, self.context.lifeline.read_fd)
        return Generation(pool, template, self.crash_reporter)

    def _next_generation(self) -> Generation:
        """Read the configuration again. Raises TaskmasterError if it cannot be used."""
        newer = self.reload()
        _refuse_changes(self.supervisor, newer)
        return self._generation(newer)

    # -- calls between the services

    def _on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        self.settlements.on_heartbeat()
        self.rescuer.on_heartbeat(heartbeat.others, now)
        self.scheduler.on_heartbeat(heartbeat.due_seconds, now)
        pool, notify_ms = self.generations.current.pool, self.context.options.notify_ms
        if any_idle(pool.slots):  # then the heartbeat has made puts notify for a while
            pool.scoreboard.notified_until_ns = time.monotonic_ns() + notify_ms * 1_000_000
        self.counters.wakeups["heartbeat"] += wake_one_each(pool.slots)

    def _on_notifications(self, arrived: Notifications) -> None:
        slots = self.generations.current.pool.slots
        for queue_name, jobs in arrived.jobs.items():
            self.counters.wakeups["notify"] += wake(slots, queue_name, jobs)
        if arrived.due:
            self.scheduler.on_due_notification(time.monotonic())

    def _snapshot(self, number: int) -> Snapshot:
        """Return the supervisor's state, for the exporter's question with this number."""
        return Snapshot(
            number=number,
            queues=queue_states(self.generations, self.counters),
            wakeups=self.counters.wakeups,
            rescued=self.rescuer.rescued,
            listener_up=self.listener.is_up,
            database_up=self.session.is_open,
            workers_up=all_up(self.generations.current.pool.slots),
            stopping=self.shutdown.is_requested,
        )


def _refuse_changes(supervisor: "Supervisor", newer: "Supervisor") -> None:
    """Raise InvalidConfig if something changed that only a restart can change."""
    for name in ("database_url", "schema", "options"):
        if getattr(supervisor, name) != getattr(newer, name):
            what = "[supervisor]" if name == "options" else name
            raise InvalidConfig(
                f"{supervisor.source}: {what} has changed, and only a restart can change it"
            )
