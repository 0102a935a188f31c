"""A worker process from its fork to its exit: build its parts, run its loop, close everything."""

import logging
import os
from contextlib import ExitStack
from functools import partial

from setproctitle import setproctitle

from taskmaster.errors import InvalidConfig
from taskmaster.failure import describe
from taskmaster.middleware import Handler
from taskmaster.processes.ipc.messages import WorkerFds, WorkerOrder
from taskmaster.processes.ipc.plan import Database, Plan
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.ipc.stack_dump import write_stack_on_signal
from taskmaster.processes.ipc.wakeups import WakeupReader
from taskmaster.processes.system.fd_identity import identity
from taskmaster.processes.system.log import enable_loggers, log_into_pipe
from taskmaster.processes.system.orphans import adopt_orphans
from taskmaster.processes.system.proc import resident_bytes
from taskmaster.processes.system.random_numbers import seed_again
from taskmaster.processes.worker.context import WorkerContext, WorkerJobContext
from taskmaster.processes.worker.forks import Forks
from taskmaster.processes.worker.guard import Guard
from taskmaster.processes.worker.leased import Leased
from taskmaster.processes.worker.loop import Delivery, WorkerLoop
from taskmaster.processes.worker.output import STANDARD, WorkerOutput, capture
from taskmaster.processes.worker.prepared import Prepared
from taskmaster.processes.worker.recycling import Recycling, refuse_limits_below
from taskmaster.processes.worker.run import exit_in_forks
from taskmaster.processes.worker.timeouts import with_timeout
from taskmaster.processes.worker.transactional import Transactional
from taskmaster.store.leases import Claimant

CONFIRM_SECONDS = 10.0  # for the supervisor to confirm by a wakeup that the fork is wanted

log = logging.getLogger("taskmaster.worker")


def main(
    plan: Plan,
    prepared: Prepared,
    scoreboard: Scoreboard,
    order: WorkerOrder,
    fds: WorkerFds,
    *,
    confirm_seconds: float = CONFIRM_SECONDS,
) -> int:
    """Run the worker that was ordered. Return the exit code."""
    setproctitle(f"taskmaster worker {prepared.consumer.queue_name}")
    row = scoreboard.row(order.row)
    wakeups = WakeupReader(fds.wakeups)
    if not wakeups.get(confirm_seconds):
        return 1  # the order was given up: the slot may belong to another worker by now
    _set_up_output(fds, plan.metrics_dir, order.number)
    with ExitStack() as stack:
        job_context = WorkerJobContext(row)
        handler = _try_build(prepared, job_context, fds.stack, stack)
        if handler is None:
            return 1
        guard = _guard(prepared, fds, order.held_fd)
        context = WorkerContext(
            consumer=prepared.consumer,
            worker=order.worker,
            row=row,
            permits_fd=fds.permits,
            handler=handler,
            job_context=job_context,
            permits_file=identity(fds.permits),
            output=WorkerOutput(row),
            guard=guard,
        )
        loop = WorkerLoop(
            schema=plan.database.schema,
            delivery=_delivery(plan.database, context, order.supervisor),
            row=row,
            scoreboard=scoreboard,
            wakeups=wakeups,
            recycling=Recycling(prepared.consumer, fds.recycle_permit),
            notify_ms=plan.notify_ms,
            is_parked=order.parked,
        )
        loop.run(guard)
    return 0


def _guard(prepared: Prepared, fds: WorkerFds, held_fd: int) -> Guard:
    guarded = (*STANDARD, fds.wakeups, fds.permits, held_fd)
    return Guard(guarded, fds.stack, has_timeout=prepared.consumer.timeout_seconds is not None)


def _set_up_output(fds: WorkerFds, metrics_dir: str | None, number: int) -> None:
    """Send what this process prints to its supervisor, and what it counts to the exporter."""
    capture(fds.stdout, fds.stderr)
    log_into_pipe()
    _count_in_files(metrics_dir, number)


def _count_in_files(metrics_dir: str | None, number: int) -> None:
    """Count in the files of this worker's number, if an exporter runs."""
    if metrics_dir is not None:
        from taskmaster.processes.ipc import prometheus_files  # the template has imported it

        try:
            prometheus_files.become(number, metrics_dir)
        except OSError as error:  # jobs run whether or not they can be counted
            log.warning("metrics not counted: %s", error)


def _try_build(
    prepared: Prepared, job_context: WorkerJobContext, stack_fd: int, stack: ExitStack
) -> Handler | None:
    """Return the handler, or write the reason into the row and return None.

    `final` marks a reason that any other worker would have too.
    """
    row, queue_name = job_context.row, prepared.consumer.queue_name
    try:
        handler = _build(prepared, job_context, stack)
        write_stack_on_signal(stack_fd)
        return handler
    except InvalidConfig as error:
        row.batch.write_entry({"boot": str(error), "final": True})
    except BaseException as error:  # the user's code may raise anything
        enable_loggers()
        log.exception("worker failed to boot: queue=%s", queue_name)
        row.batch.write_entry({"boot": f"consumer {queue_name!r}: {describe(error)}"})
    return None


def _build(prepared: Prepared, job_context: WorkerJobContext, stack: ExitStack) -> Handler:
    """Set up this process, enter the component and build the middlewares."""
    adopt_orphans()
    Forks().register()
    os.nice(prepared.consumer.nice)
    if prepared.consumer.cpu_affinity:
        os.sched_setaffinity(0, prepared.consumer.cpu_affinity)
    os.register_at_fork(after_in_child=partial(setattr, job_context, "is_forked", True))
    seed_again()
    job_context.component = prepared.open_component(stack)
    handler = prepared.chain(stack, exit_in_forks(prepared.callback, job_context))
    refuse_limits_below(resident_bytes(os.getpid()), prepared.consumer, where=prepared.where)
    timeout = prepared.consumer.timeout_seconds
    return handler if timeout is None else with_timeout(handler, timeout)


def _delivery(database: Database, context: WorkerContext, supervisor: int) -> Delivery:
    consumer = context.consumer
    if consumer.is_transactional:
        return Transactional(database, context.worker, context)
    claimant = Claimant(supervisor, context.worker, consumer.queue_name, consumer.is_at_most_once)
    return Leased(database, claimant, context)
