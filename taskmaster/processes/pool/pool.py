"""The workers of one configuration: one member per slot, alive or about to be replaced."""

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taskmaster.consumer import Consumer
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ledger.worker_exit import Usage, WorkerExit
from taskmaster.processes.pool.cause import (
    IN_ORDER,
    OomWatch,
    boot_failure,
    refused,
    worker_exit_of,
)
from taskmaster.processes.pool.slot import WorkerSlot
from taskmaster.processes.pool.template_client import TemplateClient
from taskmaster.processes.pool.worker_process import STACK_SECONDS, WorkerProcess, kill_group
from taskmaster.processes.shared import messages, permits
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.failures import HOST
from taskmaster.processes.shared.scoreboard import Scoreboard
from taskmaster.processes.shared.worker_numbers import Numbers

SERIALS = itertools.count(1)  # of all workers of this process
ROOM_LOOK_SECONDS = 0.02  # while workers of an older configuration have the places
BOOT_LOOK_SECONDS = 0.02  # a worker that has booted says so in its slot only
LEAVE_SECONDS = 3.0  # what Sentry and tracing have for their last events, and more
OUTPUT_LOOK_SECONDS = (
    0.1  # for limits too: so much later at most is shown what a busy worker prints
)


@dataclass(slots=True)
class WorkerPool:
    """All members; converges to one living worker per slot."""

    consumers: Sequence[Consumer]
    options: SupervisorOptions
    scoreboard: Scoreboard
    numbers: Numbers = field(default_factory=Numbers)
    slots: list[WorkerSlot] = field(default_factory=list)
    recycle_permits: list[int] = field(
        default_factory=list
    )  # per consumer: whose turn it is to be replaced, see recycling.py
    recycle_permits_taken: set[int] = field(default_factory=set)
    oom_watch: OomWatch = field(default_factory=OomWatch)
    stopping: bool = False
    at_work: bool = False
    failure: str | None = None  # why it makes no sense to go on

    def __post_init__(self) -> None:
        for number, consumer in enumerate(self.consumers):
            self.recycle_permits.append(permits.create())
            self.recycle_permits_taken.add(number)
            for _ in range(consumer.concurrency):
                backoff = Backoff(
                    self.options.restart_base_seconds, self.options.restart_max_seconds
                )
                index = len(self.slots)
                self.slots.append(
                    WorkerSlot(index, number, consumer, self.scoreboard.row(index), backoff)
                )

    def processes(self) -> Iterator[WorkerProcess]:
        return (slot.process for slot in self.slots if slot.process is not None)

    def spawn_missing(
        self, template: TemplateClient, supervisor: int, now: float, elsewhere: Mapping[str, int]
    ) -> None:
        """Order a worker for each vacant slot whose time has come.

        `elsewhere`: workers of each queue that still finish their jobs on an older configuration. They count.
        """
        if self.stopping:
            return
        self.at_work = True
        room = Counter({consumer.queue_name: consumer.concurrency for consumer in self.consumers})
        room.subtract(elsewhere)
        room.subtract(self.working())
        for slot in self.slots:
            queue_name = slot.consumer.queue_name
            parked = slot.process is not None and slot.process.parked
            if not parked and (
                slot.process is not None or now < slot.start_at or not template.accepts_orders
            ):
                continue
            if room[queue_name] <= 0:
                slot.start_at = now + ROOM_LOOK_SECONDS
                continue
            room[queue_name] -= 1
            if parked:
                slot.begin()
            else:
                self.spawn(slot, template, supervisor, now)

    def canary(self, template: TemplateClient, supervisor: int, now: float) -> bool:
        """Start one worker of each consumer, which waits; True once all are up: the code can be worked with."""
        canaries = {slot.consumer_index: slot for slot in reversed(self.slots)}.values()
        for slot in canaries:
            if slot.process is None and now >= slot.start_at and template.accepts_orders:
                self.spawn(slot, template, supervisor, now, parked=True)
        return all(slot.alive and slot.row.idle for slot in canaries)

    def working(self) -> Counter[str]:
        """Workers by queue, but for those that wait."""
        return Counter(
            m.consumer.queue_name
            for m in self.slots
            if m.process is not None and not m.process.parked
        )

    def spawn(
        self,
        slot: WorkerSlot,
        template: TemplateClient,
        supervisor: int,
        now: float,
        *,
        parked: bool = False,
    ) -> None:
        slot.row.clear()
        serial = next(SERIALS)
        process = slot.process = WorkerProcess(
            serial, self.numbers.take(), f"{HOST}:{os.getpid()}:{serial}", now, parked
        )
        wanted = messages.WorkerOrder(
            serial,
            slot.consumer_index,
            slot.index,
            process.name,
            supervisor,
            process.number,
            parked=parked,
        )
        wakeups, permits_fd, stack, *output = process.fds()
        template.order(
            wanted, (wakeups, permits_fd, stack, self.recycle_permits[slot.consumer_index], *output)
        )
        process.wakeups.handed_over()

    def refill_recycle_permits(self) -> None:
        """Let the next worn worker of a consumer leave, once all of its workers are up."""
        for number in list(self.recycle_permits_taken):
            if all(m.alive and m.row.booted for m in self.slots if m.consumer_index == number):
                permits.drain(self.recycle_permits[number])
                permits.fill(self.recycle_permits[number], 1)
                self.recycle_permits_taken.discard(number)

    def on_forked(self, forked: messages.Forked) -> None:
        """Note the pid of a worker; one that is not wanted any more is ended."""
        for slot in self.slots:
            if slot.process is not None and slot.process.serial == forked.serial:
                slot.process.pid = forked.pid or None
                if not forked.pid:
                    self.vacate(slot, lived_seconds=0.0)
                elif slot.process.cut_off:  # ended before it was born
                    kill_group(forked.pid)
                elif self.stopping:
                    slot.stop()
                else:
                    slot.process.wakeups.put()  # it is known: it may begin
                return
        if forked.pid:
            kill_group(forked.pid)

    def on_fork_lost(self, serials: set[int]) -> None:
        """The template was lost with these orders."""
        for slot in self.slots:
            if (
                slot.process is not None
                and slot.process.serial in serials
                and slot.process.pid is None
            ):
                self.vacate(slot, lived_seconds=0.0)

    def knows(self, pid: int) -> bool:
        return any(process.pid == pid for process in self.processes())

    def died(self, pid: int, status: int, usage: Usage) -> WorkerExit | None:
        """A child was reaped: its death, to be settled; None when it was no worker."""
        for slot in self.slots:
            if slot.process is not None and slot.process.pid == pid:
                worker_exit = worker_exit_of(
                    slot, slot.process, self.oom_watch.cause(status), usage
                )
                self.judge(slot, worker_exit)
                return worker_exit
        return None

    def judge(self, slot: WorkerSlot, worker_exit: WorkerExit) -> None:
        """Decide when the slot is filled again, or that it makes no sense."""
        assert slot.process is not None
        in_order = slot.row.booted and (worker_exit.cut_off or worker_exit.cause == IN_ORDER)
        useful = in_order or slot.row.served > 0 or worker_exit.excess is not None
        lived = math.inf if useful else time.monotonic() - slot.process.ordered_at
        if slot.row.booted:
            slot.failed_boots, slot.proven = 0, True
        elif not worker_exit.cut_off:
            slot.failed_boots += 1
        if slot.failed_boots >= self.options.boot_attempts or refused(slot):
            self.failure = boot_failure(slot, worker_exit)
        self.vacate(slot, lived_seconds=lived)

    def vacate(self, slot: WorkerSlot, *, lived_seconds: float) -> None:
        assert slot.process is not None
        self.let_go(slot.process)
        slot.process = None
        self.recycle_permits_taken.add(slot.consumer_index)
        slot.start_at = time.monotonic() + slot.backoff.record(lived_seconds)

    def enforce_limits(self, now: float) -> None:
        for slot in self.slots:
            slot.enforce_limits(now)
            slot.see_off(now, max(LEAVE_SECONDS, self.options.grace_seconds))

    def wake(self, queue_name: str, jobs: int) -> int:
        """Wake as many workers of a queue as there are jobs for, the idle ones first; how many were told.

        One that is busy is told too: it may have looked already, and be about to go idle.
        """
        woken = 0
        slots = [slot for slot in self.slots if slot.consumer.queue_name == queue_name]
        for slot in sorted(slots, key=lambda slot: not slot.row.idle):
            if woken >= jobs:
                break
            woken += slot.wake()
        return woken

    def wake_one_each(self) -> int:
        """Have one idle worker of each consumer look: what no notification told of is found within a second."""
        looking: set[int] = set()
        for slot in self.slots:
            if slot.consumer_index not in looking and slot.row.idle and slot.wake():
                looking.add(slot.consumer_index)
        return len(looking)

    def stop(self) -> list[tuple[UUID, Sequence[int]]]:
        """Have all leave after the job at hand; what they will not start."""
        self.stopping = True
        for slot in self.slots:
            slot.stop()
        return self.taken_back(self.slots)

    def taken_back_behind_slow_jobs(self) -> list[tuple[UUID, Sequence[int]]]:
        """What waits behind a slow job, so that other workers can have it."""
        return self.taken_back(
            [m for m in self.slots if m.slow_since(self.options.slow_after_seconds)]
        )

    def taken_back(self, slots: Sequence[WorkerSlot]) -> list[tuple[UUID, Sequence[int]]]:
        return [taken for slot in slots if (taken := slot.take_back()) is not None]

    def next_due(self, now: float, *, spawning: bool) -> float:
        """When somebody is to be looked at again, or (if it can be) a vacant slot to be filled."""
        return min(
            (self.due(slot, now) for slot in self.slots if slot.process or spawning),
            default=math.inf,
        )

    def due(self, slot: WorkerSlot, now: float) -> float:
        if slot.process is None:
            return (
                max(slot.start_at, now + BOOT_LOOK_SECONDS) if not self.at_work else slot.start_at
            )
        if slot.process.condemned is not None:
            return now + STACK_SECONDS / 2
        if not slot.row.booted:
            return now + BOOT_LOOK_SECONDS if slot.alive else math.inf
        if slot.process.parked:
            return now + ROOM_LOOK_SECONDS
        if not slot.busy:
            return now + OUTPUT_LOOK_SECONDS if slot.process.output.waiting else math.inf
        return now + min(OUTPUT_LOOK_SECONDS, self.options.slow_after_seconds / 2)

    def pass_on_output(self) -> None:
        for process in self.processes():
            process.output.pass_on()

    def booted(self) -> bool:
        """Are all workers up?"""
        return all(slot.alive and slot.row.booted for slot in self.slots)

    def proven(self) -> bool:
        """Has each place had a worker that was up? Where jobs kill theirs as they come, all are never up at once."""
        return all(slot.proven or (slot.alive and slot.row.booted) for slot in self.slots)

    def idle(self) -> bool:
        return any(slot.alive and slot.row.idle for slot in self.slots)

    def worker_names(self) -> list[str]:
        return [process.name for process in self.processes()]

    def running(self) -> list[dict[str, Any]]:
        """The runs that have lasted for a while or say how far they are, as `taskmaster status` shows them."""
        return [shown for slot in self.slots if (shown := slot.running()) is not None]

    def lost_leases(self) -> int:
        """Batches of living workers whose outcomes were not written."""
        return sum(slot.row.lost_leases for slot in self.slots if slot.process is not None)

    def let_go(self, process: WorkerProcess) -> None:
        """Close what was shared with a worker that is no more; another may have its number."""
        process.close()
        self.numbers.give_back(process.number)

    def close(self) -> None:
        for process in self.processes():
            self.let_go(process)
        for fd in self.recycle_permits:
            os.close(fd)
