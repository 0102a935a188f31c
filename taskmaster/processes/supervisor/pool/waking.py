"""Waking: choose the workers to wake when jobs arrive, and let idle ones look after a heartbeat.

This runs in the supervisor.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.pool.slot import WorkerSlot
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.store.supervisors import Heartbeat


@dataclass(slots=True)
class Waker(BaseService):
    """Wakes workers of the current generation. `wakeups` counts them by source.

    It runs after the scheduler and the rescuer, so that idle workers find what these have released.
    """

    session: DatabaseSession
    generations: Generations
    notify_ms: int
    wakeups: Counter[str] = field(default_factory=Counter)
    has_beaten: bool = False
    has_connected: bool = False

    def __post_init__(self) -> None:
        self.session.on_connect.append(self.on_connect)

    def on_jobs(self, jobs_by_queue: Counter[str]) -> None:
        """Wake workers for jobs of which a notification arrived."""
        slots = self.generations.current.pool.slots
        for queue_name, jobs in jobs_by_queue.items():
            self.wakeups["notify"] += wake(slots, queue_name, jobs)

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """Let idle workers look next."""
        self.has_beaten = True

    def on_connect(self) -> None:
        """Let all workers look next: notifications were missed, or the database is back."""
        self.has_connected = True

    def run_due(self, now: float) -> None:
        """After a heartbeat, wake one idle worker of each consumer, and all after a reconnect."""
        if self.has_connected:
            self.has_connected = False
            slots = self.generations.current.pool.slots
            self.wakeups["reconnect"] += sum(slot.wake() for slot in slots)
        if not self.has_beaten:
            return
        self.has_beaten = False
        pool = self.generations.current.pool
        if any(slot.is_up and slot.is_idle for slot in pool.slots):
            # The heartbeat has made puts notify for a while.
            pool.scoreboard.notified_until_ns = time.monotonic_ns() + self.notify_ms * 1_000_000
        self.wakeups["heartbeat"] += wake_one_each(pool.slots)


def wake(slots: Iterable[WorkerSlot], queue_name: str, jobs: int) -> int:
    """Wake as many workers of a queue as there are jobs, and return how many were woken.

    Idle workers are woken first. Busy workers are woken too, because a worker may be about to
    become idle after a look that came too early.
    """
    candidates = [slot for slot in slots if slot.consumer.queue_name == queue_name]
    woken = 0
    for slot in sorted(candidates, key=lambda slot: not slot.is_idle):
        if woken >= jobs:
            break
        woken += slot.wake()
    return woken


def wake_one_each(slots: Iterable[WorkerSlot]) -> int:
    """Wake one idle worker of each consumer. Return how many were woken.

    So jobs are found within a second even if their notification was lost.
    """
    woken: set[int] = set()
    for slot in slots:
        if slot.consumer_index not in woken and slot.is_idle and slot.wake():
            woken.add(slot.consumer_index)
    return len(woken)
