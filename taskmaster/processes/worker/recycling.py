"""Recycling in the worker: exit after enough jobs or memory, one worker of a consumer at a time.

A semaphore per consumer holds one permit, which a worker takes before it exits. The supervisor puts
it back when all workers of the consumer are up again (pool/recycle_permits.py). A consumer with one
worker needs no permit.
"""

import os
from dataclasses import dataclass

from taskmaster.consumer import Consumer
from taskmaster.errors import InvalidConfig
from taskmaster.processes.ipc import permits
from taskmaster.processes.system.proc import MIB, resident_bytes


@dataclass(slots=True)
class Recycling:
    """Counts the jobs that one worker has run."""

    consumer: Consumer
    permit_fd: int
    jobs: int = 0

    def most_jobs(self) -> int | None:
        """Return how many more jobs the worker may claim, or None for any number.

        While the worker waits for the permit to exit, it claims one job at a time.
        """
        most = self.consumer.max_jobs_per_worker
        return None if most is None else max(1, most - self.jobs)

    def record(self, jobs: int) -> bool:
        """Count jobs that have run. Return True if the worker has to exit now."""
        self.jobs += jobs
        return self._is_due() and (self.consumer.concurrency == 1 or permits.take(self.permit_fd))

    def _is_due(self) -> bool:
        most_jobs = self.consumer.max_jobs_per_worker
        if most_jobs is not None and self.jobs >= most_jobs:
            return True
        most_mb = self.consumer.max_memory_per_worker_mb
        return most_mb is not None and resident_bytes(os.getpid()) > most_mb * MIB


def refuse_limits_below(resident: int, consumer: Consumer, *, where: str) -> None:
    """Raise InvalidConfig if a limit is below the resident bytes of a worker without a job.

    Otherwise every job would be killed for the size of its worker.
    """
    for name in ("memory_limit_mb", "max_memory_per_worker_mb"):
        limit = getattr(consumer, name)
        if limit is not None and resident > limit * MIB:
            raise InvalidConfig(
                f"{where}: {name} is {limit}, but a worker has {resident // MIB} MiB resident "
                "before its first job: set it well above that"
            )
