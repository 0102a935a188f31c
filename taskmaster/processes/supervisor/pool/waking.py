"""Which workers are woken when jobs arrive."""

from collections.abc import Iterable

from taskmaster.processes.supervisor.pool.slot import WorkerSlot


def wake(slots: Iterable[WorkerSlot], queue_name: str, jobs: int) -> int:
    """Wake as many workers of a queue as there are jobs, idle ones first. Return how many were woken.

    A busy worker is woken too: it may have looked already, and be about to go idle.
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

    It finds within a second the jobs of which no notification arrived.
    """
    woken: set[int] = set()
    for slot in slots:
        if slot.consumer_index not in woken and slot.is_idle and slot.wake():
            woken.add(slot.consumer_index)
    return len(woken)
