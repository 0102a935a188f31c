"""When a worker has served for long enough, and may be replaced: one worker of a consumer at a time.

Whose turn it is, the kernel decides: a semaphore per consumer holds one unit, which a worn worker takes before it
leaves, and which the supervisor puts back when all of the consumer's workers are up again. An only worker
needs no turn.
"""

import os
from dataclasses import dataclass

from taskmaster.consumer import Consumer
from taskmaster.processes.shared import permits
from taskmaster.processes.shared.limits import MIB, resident_bytes


@dataclass(slots=True)
class Recycling:
    """How much one worker has served."""

    consumer: Consumer
    recycle_permit_fd: int
    jobs: int = 0

    def left(self) -> int | None:
        """How many more jobs it may claim; None: any number. One by one when only its turn to leave is awaited."""
        most = self.consumer.max_jobs_per_worker
        return None if most is None else max(1, most - self.jobs)

    def record(self, jobs: int) -> bool:
        """Note that so many jobs have run; True: leave now."""
        self.jobs += jobs
        return self._worn() and (
            self.consumer.concurrency == 1 or permits.take(self.recycle_permit_fd)
        )

    def _worn(self) -> bool:
        most_jobs, most_mb = (
            self.consumer.max_jobs_per_worker,
            self.consumer.max_memory_per_worker_mb,
        )
        if most_jobs is not None and self.jobs >= most_jobs:
            return True
        return most_mb is not None and resident_bytes(os.getpid()) > most_mb * MIB
