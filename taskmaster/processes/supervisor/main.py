"""The supervisor process: create the services, connect them, and run them in their order."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from taskmaster.embedded import directory_of, resolve_url
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ipc.lifeline import Lifeline
from taskmaster.processes.ipc.plan import Database, ExporterPlan
from taskmaster.processes.supervisor.context import SupervisorContext
from taskmaster.processes.supervisor.database.attentive import attentive
from taskmaster.processes.supervisor.database.heartbeat import HeartbeatService, OnHeartbeat
from taskmaster.processes.supervisor.database.listener import Listener
from taskmaster.processes.supervisor.database.rescuer import Rescuer
from taskmaster.processes.supervisor.database.scheduler import Scheduler
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.embedded_service import EmbeddedService
from taskmaster.processes.supervisor.exits.counters import Counters
from taskmaster.processes.supervisor.exits.late_claims import LateClaims
from taskmaster.processes.supervisor.exits.lost_transactions import LostTransactions
from taskmaster.processes.supervisor.exits.settlements import PendingSettlements
from taskmaster.processes.supervisor.exporter_service import exporter_service
from taskmaster.processes.supervisor.generation_factory import GenerationFactory
from taskmaster.processes.supervisor.log_service import LogService
from taskmaster.processes.supervisor.loop import Loop
from taskmaster.processes.supervisor.metrics_directory import metrics_directory
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReportService
from taskmaster.processes.supervisor.pool.output_service import OutputService
from taskmaster.processes.supervisor.pool.reaper import Reaper
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.pool.waking import Waker
from taskmaster.processes.supervisor.pool.worker_numbers import WorkerNumbers
from taskmaster.processes.supervisor.readiness import Readiness
from taskmaster.processes.supervisor.service import ChildService, Service
from taskmaster.processes.supervisor.shutdown import ShutdownService
from taskmaster.processes.supervisor.signals import Signals
from taskmaster.processes.supervisor.snapshot import (
    SnapshotSource,
    heartbeat_report,
    worker_names,
)
from taskmaster.processes.system.init import leave_pid_1
from taskmaster.processes.system.orphans import adopt_orphans
from taskmaster.processes.system.stdio import keep_for_stdio

if TYPE_CHECKING:
    from taskmaster.supervisor import Reload, Supervisor


def run(
    supervisor: "Supervisor",
    *,
    on_ready: Callable[[], object],
    reload: "Reload | None",
) -> None:
    """Run in this process until SIGTERM or SIGINT. See `Supervisor.run`."""
    leave_pid_1()
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
        loop = build_loop(supervisor, context, signals, on_ready, reload or (lambda: supervisor))
        stack.enter_context(closing(loop)).run()


def build_loop(
    supervisor: "Supervisor",
    context: SupervisorContext,
    signals: Signals,
    on_ready: Callable[[], object],
    reload: "Reload",
) -> Loop:
    """Return the loop with all services, in the order in which they run.

    The heartbeat comes before everything that may wait for a lock. Idle workers are woken after all
    that may have made jobs ready. Services are closed in the opposite order: children before the
    reaper, the reaper before the settlements, the session last.
    """
    core = _build_core(supervisor, context, reload)
    options, session, generations = context.options, core.session, core.generations
    late_claims = LateClaims(session, core.outbox, partial(worker_names, generations))
    rescuer, scheduler = Rescuer(session, options), Scheduler(session)
    waker = Waker(session, generations, options.notify_ms)
    followers = (late_claims, rescuer, scheduler, waker)
    heartbeat = _heartbeat(core, options, [one.on_heartbeat for one in followers])
    listener = Listener(session, waker.on_jobs, scheduler.on_due_notification, waker.on_connect)
    shutdown = ShutdownService(options, generations, core.crash_reporter)
    snapshots = SnapshotSource(
        generations=generations,
        counters=core.counters,
        waker=waker,
        rescuer=rescuer,
        listener=listener,
        session=session,
        shutdown=shutdown,
    )
    children = _child_services(supervisor, context, session, snapshots)
    reaper = Reaper(generations, core.crash_reporter, children, signals)
    services: Sequence[Service] = [
        *(session, heartbeat, late_claims, core.lost_transactions, core.outbox),
        *(rescuer, scheduler, listener, waker, shutdown, core.output, generations),
        *(core.crash_reporter, reaper, LogService(), *children),
        Readiness(listener, generations, on_ready),
    ]
    return Loop(services, signals, shutdown, generations, reaper=reaper)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """The services that most others use: session, workers, and what their exits lead to."""

    session: DatabaseSession
    counters: Counters
    crash_reporter: CrashReportService
    lost_transactions: LostTransactions
    outbox: PendingSettlements
    generations: Generations
    output: OutputService


def _build_core(supervisor: "Supervisor", context: SupervisorContext, reload: "Reload") -> _Core:
    counters = Counters()
    session = DatabaseSession(
        context.database,
        attentive(lambda: output.pass_on()),
        migrates=context.options.auto_migrate or directory_of(supervisor.database_url) is not None,
    )
    crash_reporter = CrashReportService(lambda: generations.current.template)
    lost_transactions = LostTransactions(session, crash_reporter.report)
    outbox = PendingSettlements(session, lost_transactions, crash_reporter.report)
    factory = GenerationFactory(
        context=context, outbox=outbox, counters=counters, crash_reporter=crash_reporter
    )
    first = factory.make(supervisor)
    generations = Generations(first, partial(factory.make_next, supervisor, reload), session)
    output = OutputService(generations)
    return _Core(
        session=session,
        counters=counters,
        crash_reporter=crash_reporter,
        lost_transactions=lost_transactions,
        outbox=outbox,
        generations=generations,
        output=output,
    )


def _heartbeat(
    core: _Core, options: SupervisorOptions, on_heartbeat: Sequence[OnHeartbeat]
) -> HeartbeatService:
    generations, notify_ms = core.generations, options.notify_ms
    return HeartbeatService(
        session=core.session,
        heartbeat_seconds=options.heartbeat_seconds,
        report=partial(heartbeat_report, generations, core.counters, notify_ms=notify_ms),
        on_heartbeat=on_heartbeat,
        on_eviction=generations.kill_all,
    )


def _child_services(
    supervisor: "Supervisor",
    context: SupervisorContext,
    session: DatabaseSession,
    snapshots: SnapshotSource,
) -> list[ChildService]:
    """Return the services with a child of their own that this supervisor needs."""
    services: list[ChildService] = []
    if (http := context.options.http) is not None:
        plan = ExporterPlan(context.database, context.numbers.directory, supervisor.log_format)
        services.append(exporter_service(http, plan, snapshots.take, source=supervisor.source))
    directory = directory_of(supervisor.database_url)
    if directory is not None:
        services.append(EmbeddedService(directory, session))
    return services
