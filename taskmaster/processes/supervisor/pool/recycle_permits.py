"""Recycle permits: one per consumer, so that its workers are recycled one at a time.

A worker that has served for long enough takes the permit before it exits (worker/recycling.py). The
supervisor puts the permit back once all workers of the consumer are up again.
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack

from taskmaster.processes.ipc import permits
from taskmaster.processes.supervisor.pool.slot import WorkerSlot


class RecyclePermits:
    """Holds one semaphore per consumer, by the consumer's index."""

    def __init__(self, consumer_count: int) -> None:
        self.fds: list[int] = []
        with ExitStack() as unless_created:
            unless_created.callback(self.close)
            for _ in range(consumer_count):
                self.fds.append(permits.create())
            unless_created.pop_all()
        self._to_refill = set(range(consumer_count))

    def on_exit(self, consumer_index: int) -> None:
        """Refill the consumer's permit once all of its workers are up."""
        self._to_refill.add(consumer_index)

    def refill(self, slots: Iterable[WorkerSlot]) -> None:
        """Put back the permits of the consumers whose workers are all up."""
        if not self._to_refill:
            return
        not_up = {slot.consumer_index for slot in slots if not slot.is_up}
        for index in self._to_refill - not_up:
            permits.drain(self.fds[index])
            permits.fill(self.fds[index], 1)
        self._to_refill &= not_up

    def close(self) -> None:
        """Close the semaphores."""
        for fd in self.fds:
            os.close(fd)
