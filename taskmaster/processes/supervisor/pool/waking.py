"""Choose the workers to wake when jobs arrive. This runs in the supervisor."""

from collections.abc import Iterable

from taskmaster.processes.supervisor.pool.slot import WorkerSlot


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
