"""The spawner: order a worker from the template for each vacant slot that is due."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskmaster.errors import WorkersFailed
from taskmaster.failure import HOST
from taskmaster.processes.ipc.messages import WorkerOrder
from taskmaster.processes.supervisor.pool.pool import BOOT_LOOK_SECONDS, WorkerPool
from taskmaster.processes.supervisor.pool.slot import WorkerSlot, WorkerState
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.system.shortage import is_shortage, reason_of, shortages
from taskmaster.processes.template.client import TemplateClient

SERIALS = itertools.count(1)  # of all workers of this process
ROOM_LOOK_SECONDS = 0.02  # while workers of an older configuration occupy the places
CANARY_SECONDS = 60.0


@dataclass(slots=True)
class Spawner:
    """Fills the slots of one pool.

    `has_started`: the generation has taken over, so all its slots are filled.
    """

    pool: WorkerPool
    template: TemplateClient
    has_started: bool = False

    def fill_slots(self, supervisor_id: int, now: float, elsewhere: Mapping[str, int]) -> None:
        """Order workers for vacant slots, and unpark canaries, as far as there is room.

        `elsewhere` counts the workers of each queue that still run jobs of an older configuration:
        a queue never has more workers than its concurrency.
        """
        self.has_started = True
        room = self._room(elsewhere)
        for slot in self.pool.slots:
            is_parked = slot.process is not None and slot.process.is_parked
            if not is_parked and not self._can_spawn(slot, now):
                continue
            queue_name = slot.consumer.queue_name
            if room[queue_name] <= 0:
                slot.start_at = now + ROOM_LOOK_SECONDS
                continue
            room[queue_name] -= 1
            if is_parked:
                slot.unpark()
            else:
                self._spawn(slot, supervisor_id, now)

    def start_canaries(self, supervisor_id: int, now: float) -> bool:
        """Start one parked worker of each consumer. Return True once all of them are up."""
        for slot in (canaries := self._canaries()):
            if self._can_spawn(slot, now):
                self._spawn(slot, supervisor_id, now, parked=True)
        return all(slot.state is WorkerState.PARKED for slot in canaries)

    def check_canaries(self, now: float) -> None:
        """Raise WorkersFailed if a canary was ordered more than a minute ago and is not up."""
        oldest = min((process.ordered_at for process in self.pool.processes()), default=now)
        if now - oldest > CANARY_SECONDS:
            raise WorkersFailed(f"a new worker was not up within {CANARY_SECONDS:g} s")

    def next_due(self, now: float, *, is_registered: bool) -> float:
        """Return when the next vacant slot is due."""
        if not is_registered or self.pool.is_stopping or not self.template.accepts_orders:
            return math.inf
        due = min((s.start_at for s in self.pool.slots if s.process is None), default=math.inf)
        # Before the generation takes over, only its canaries are started.
        return due if self.has_started else max(due, now + BOOT_LOOK_SECONDS)

    def _canaries(self) -> Sequence[WorkerSlot]:
        """Return the first slot of each consumer."""
        return list({slot.consumer_index: slot for slot in reversed(self.pool.slots)}.values())

    def _can_spawn(self, slot: WorkerSlot, now: float) -> bool:
        return slot.process is None and now >= slot.start_at and self.template.accepts_orders

    def _room(self, elsewhere: Mapping[str, int]) -> Counter[str]:
        """Return how many more workers each queue may have."""
        room = Counter({c.queue_name: c.concurrency for c in self.pool.consumers})
        room.subtract(elsewhere)
        room.subtract(workers_by_queue(self.pool))
        return room

    def _spawn(
        self, slot: WorkerSlot, supervisor_id: int, now: float, *, parked: bool = False
    ) -> None:
        slot.row.clear()
        process = slot.process = self._try_create(slot, now, parked=parked)
        if process is None:
            return
        order = WorkerOrder(
            serial=process.serial,
            consumer=slot.consumer_index,
            row=slot.index,
            worker=process.name,
            supervisor=supervisor_id,
            number=process.number,
            parked=parked,
        )
        recycle_permit_fd = self.pool.recycle_permits.fds[slot.consumer_index]
        self.template.order(order, process.fds(recycle_permit_fd))
        process.leave_fds()

    def _try_create(self, slot: WorkerSlot, now: float, *, parked: bool) -> WorkerProcess | None:
        """Return a new worker, or None if descriptors are short. Then the slot stays vacant."""
        number, serial = self.pool.numbers.take(), next(SERIALS)
        name = f"{HOST}:{os.getpid()}:{serial}"
        try:
            return WorkerProcess.create(
                slot.row,
                serial=serial,
                number=number,
                name=name,
                ordered_at=now,
                is_parked=parked,
            )
        except (OSError, MemoryError) as error:
            if not is_shortage(error):
                raise
            self.pool.numbers.release(number)
            shortages.warn("worker not started", reason_of(error))
            slot.start_at = now + slot.backoff.record()
            return None


def workers_by_queue(pool: WorkerPool) -> Counter[str]:
    """Return how many workers each queue has, without parked ones."""
    return Counter(
        slot.consumer.queue_name
        for slot in pool.slots
        if slot.process is not None and not slot.process.is_parked
    )
