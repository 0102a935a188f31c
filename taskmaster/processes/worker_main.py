"""A worker's life from the fork to its last breath: what is prepared before it, built in it, and closed at its end."""

import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from setproctitle import setproctitle

from taskmaster.chain import Handler, build, innermost
from taskmaster.consumer import Callback, Component, Consumer
from taskmaster.errors import InvalidConfig
from taskmaster.processes import batch, limits
from taskmaster.processes.failures import describe
from taskmaster.processes.messages import Order
from taskmaster.processes.plan import Plan
from taskmaster.processes.slots import STOP, Slot, Slots
from taskmaster.processes.wakeups import WakeupReader
from taskmaster.processes.worker import Worker
from taskmaster.references import (
    MiddlewareFactory,
    check_takes_job,
    middleware_factory,
    open_middleware,
    resolve_callable,
)
from taskmaster.store.leases import Claimant

CONFIRMED_SECONDS = 10.0  # within which the supervisor confirms a birth

log = logging.getLogger("taskmaster.worker")


class Prepared(NamedTuple):
    """A consumer with everything that it names imported: done once, in the template."""

    consumer: Consumer
    callback: Callback
    component: Component | None
    middlewares: Sequence[MiddlewareFactory]
    where: str

    def chain(self, stack: ExitStack) -> Handler:
        """The callback in its middlewares, which are built now. Raises InvalidConfig, saying where."""
        try:
            return build([open_middleware(factory, stack) for factory in self.middlewares], innermost(self.callback))
        except InvalidConfig as error:
            raise InvalidConfig(f"{self.where}: {error}") from None


def prepare(consumer: Consumer, *, source: str) -> Prepared:
    """Import what the consumer names. Raises InvalidConfig, beginning with `source` and the key."""
    where = f"{source}: consumer {consumer.queue_name!r}"
    callback = resolve_callable(consumer.callback, where=f"{where}: callback")
    check_takes_job(callback, where=f"{where}: callback")
    component = consumer.component
    if component is not None:
        component = resolve_callable(component, where=f"{where}: component")
    factories = [middleware_factory(spec, where=f"{where}: middleware") for spec in consumer.middleware]
    return Prepared(consumer, callback, component, factories, where)


@dataclass(slots=True)
class Surroundings:
    """What the jobs of this worker see of it."""

    slot: Slot
    component: Any

    @property
    def stopping(self) -> bool:
        return bool(self.slot.cells[STOP])


def main(plan: Plan, prepared: Prepared, slots: Slots, order: Order, fds: Sequence[int]) -> int:
    """Be the worker that was ordered; the exit code."""
    setproctitle(f"taskmaster worker {prepared.consumer.queue_name}")
    slot = slots.slot(order.slot)
    wakeups_fd, permits_fd, stack_fd = fds
    wakeups = WakeupReader(wakeups_fd)
    if not wakeups.get(CONFIRMED_SECONDS):
        return 1  # the supervisor does not know of this worker: its place may be another's by now
    with ExitStack() as stack:
        try:
            surroundings, handler = _build(prepared, slot, stack)
            limits.prepare_worker(prepared.consumer, stack_fd)
        except InvalidConfig as error:  # no use in trying again
            slot.write({"boot": str(error), "final": True})
            return 1
        except BaseException as error:  # the user's code: whatever comes, it is the reason why this worker cannot work
            log.exception("consumer %r: a worker cannot start", prepared.consumer.queue_name)
            slot.write({"boot": f"consumer {prepared.consumer.queue_name!r}: {describe(error)}"})
            return 1
        worker = Worker(
            plan.database,
            Claimant(order.supervisor, order.worker, prepared.consumer.queue_name),
            batch.Place(prepared.consumer, order.worker, slot, permits_fd, handler, surroundings),
            slots,
            wakeups,
            plan.notify_ms,
        )
        _leave_on_sigterm(worker)
        worker.run()
    return 0


def _build(prepared: Prepared, slot: Slot, stack: ExitStack) -> tuple[Surroundings, Handler]:
    component = None if prepared.component is None else stack.enter_context(prepared.component())
    handler = prepared.chain(stack)
    timeout = prepared.consumer.timeout_seconds
    return Surroundings(slot, component), handler if timeout is None else limits.with_timeout(handler, timeout)


def _leave_on_sigterm(worker: Worker) -> None:
    """SIGTERM to a worker, or to all processes of a service: finish the job at hand and leave."""

    def leave(*_: object) -> None:
        worker.leaving = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the supervisor's to handle
