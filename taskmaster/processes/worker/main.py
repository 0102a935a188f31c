"""A worker's life from the fork to its last breath: what is prepared before it, built in it, and closed at its end."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from setproctitle import setproctitle

from taskmaster.chain import build, innermost
from taskmaster.consumer import Callback, Component, Consumer
from taskmaster.errors import InvalidConfig
from taskmaster.imports import check_takes_job, resolve_callable
from taskmaster.middleware import Handler
from taskmaster.plugins import (
    CrashReporterFactory,
    MiddlewareFactory,
    crash_reporters,
    middleware_factories,
    open_middleware,
)
from taskmaster.processes.shared import limits, output
from taskmaster.processes.shared.failures import describe
from taskmaster.processes.shared.fd_identity import identity
from taskmaster.processes.shared.log import log_into_memory
from taskmaster.processes.shared.messages import WorkerOrder
from taskmaster.processes.shared.orphans import adopt_orphans
from taskmaster.processes.shared.plan import Database, Plan
from taskmaster.processes.shared.scoreboard import Scoreboard
from taskmaster.processes.shared.wakeups import WakeupReader
from taskmaster.processes.worker.context import WorkerJobContext
from taskmaster.processes.worker.guard import Guard
from taskmaster.processes.worker.leased import Leased
from taskmaster.processes.worker.recycling import Recycling
from taskmaster.processes.worker.run import WorkerContext, unforked
from taskmaster.processes.worker.transactional import Transactional
from taskmaster.processes.worker.worker import Delivery, Worker
from taskmaster.store.leases import Claimant

CONFIRM_SECONDS = 10.0  # within which the supervisor confirms a birth

log = logging.getLogger("taskmaster.worker")


class Prepared(NamedTuple):
    """A consumer with everything that it names imported: done once, in the template."""

    consumer: Consumer
    callback: Callback
    component: Component | None
    middlewares: Sequence[MiddlewareFactory]
    crash_reporters: Sequence[CrashReporterFactory]
    where: str

    def chain(self, stack: ExitStack, callback: Callback) -> Handler:
        """`callback` in the middlewares, which are built now. Raises InvalidConfig, saying where."""
        try:
            return build(
                [open_middleware(factory, stack) for factory in self.middlewares],
                innermost(callback),
            )
        except InvalidConfig as error:
            raise InvalidConfig(f"{self.where}: {error}") from None


def prepare(consumer: Consumer, *, source: str) -> Prepared:
    """Import what the consumer names. Raises InvalidConfig, beginning with `source` and the key."""
    where = f"{source}: consumer {consumer.queue_name!r}"
    callback = resolve_callable(consumer.callback, where=f"{where}: callback")
    check_takes_job(callback, where=f"{where}: callback")
    _check_cpus(consumer, where)
    component = consumer.component
    if component is not None:
        component = resolve_callable(component, where=f"{where}: component")
    factories = middleware_factories(
        consumer.middleware, where=f"{where}: middleware", queue_name=consumer.queue_name
    )
    reporters = crash_reporters(consumer.middleware, where=f"{where}: middleware")
    return Prepared(consumer, callback, component, factories, reporters, where)


def _check_cpus(consumer: Consumer, where: str) -> None:
    there = os.sched_getaffinity(0)
    if absent := sorted(set(consumer.cpu_affinity) - there):
        raise InvalidConfig(
            f"{where}: cpu_affinity names CPU {absent[0]}; there are {', '.join(map(str, sorted(there)))}"
        )


def main(
    plan: Plan, prepared: Prepared, scoreboard: Scoreboard, order: WorkerOrder, fds: Sequence[int]
) -> int:
    """Be the worker that was ordered; the exit code."""
    setproctitle(f"taskmaster worker {prepared.consumer.queue_name}")
    row = scoreboard.row(order.row)
    wakeups_fd, permits_fd, stack_fd, recycle_permit_fd, *output_fds = fds
    wakeups = WakeupReader(wakeups_fd)
    if not wakeups.get(CONFIRM_SECONDS):
        return 1  # the supervisor does not know of this worker: its place may be another's by now
    output.capture(output_fds)
    log_into_memory()
    if plan.metrics_dir is not None:
        from taskmaster.processes.shared import prometheus_files  # the template has imported it

        prometheus_files.become(order.number, plan.metrics_dir)
    with ExitStack() as stack:
        job_context = WorkerJobContext(row)
        try:
            handler = _build(prepared, job_context, stack)
            limits.prepare_worker(prepared.consumer, stack_fd)
        except InvalidConfig as error:  # no use in trying again
            row.write({"boot": str(error), "final": True})
            return 1
        except (
            BaseException
        ) as error:  # the user's code: whatever comes, it is the reason why this worker cannot work
            log.exception("consumer %r: a worker cannot start", prepared.consumer.queue_name)
            row.write({"boot": f"consumer {prepared.consumer.queue_name!r}: {describe(error)}"})
            return 1
        context = WorkerContext(
            prepared.consumer,
            order.worker,
            row,
            permits_fd,
            handler,
            job_context,
            identity(permits_fd),
        )
        worker = Worker(
            plan.database.schema,
            _delivery(plan.database, context, order.supervisor),
            row,
            scoreboard,
            wakeups,
            Recycling(prepared.consumer, recycle_permit_fd),
            plan.notify_ms,
            order.parked,
        )
        worker.run(Guard((1, 2, wakeups_fd, permits_fd, order.held_fd), worker.leave))
    return 0


def _build(prepared: Prepared, job_context: WorkerJobContext, stack: ExitStack) -> Handler:
    """What the jobs need, made in this process: after the fork."""
    adopt_orphans()
    os.nice(prepared.consumer.nice)
    if prepared.consumer.cpu_affinity:
        os.sched_setaffinity(0, prepared.consumer.cpu_affinity)
    os.register_at_fork(after_in_child=partial(setattr, job_context, "forked", True))
    if prepared.component is not None:
        job_context.component = stack.enter_context(prepared.component())
    handler = prepared.chain(stack, unforked(prepared.callback, job_context))
    timeout = prepared.consumer.timeout_seconds
    return handler if timeout is None else limits.with_timeout(handler, timeout)


def _delivery(database: Database, context: WorkerContext, supervisor: int) -> Delivery:
    consumer = context.consumer
    if consumer.transactional:
        return Transactional(database, context.worker, context)
    return Leased(
        database, Claimant(supervisor, context.worker, consumer.queue_name, consumer.once), context
    )
