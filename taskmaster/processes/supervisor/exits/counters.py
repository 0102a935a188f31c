"""The counters of the supervisor since its start, for the metrics."""

from collections import Counter
from dataclasses import dataclass, field

from taskmaster.processes.supervisor.exits.worker_exit import WorkerExit


@dataclass(slots=True)
class Counters:
    """Counts exits by queue and cause.

    The others are by queue, for workers that have exited. Running workers count in their rows.
    """

    exits: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost_leases: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)

    def count_exit(self, worker_exit: WorkerExit) -> None:
        """Count an exit, and add the worker's own counts before its row is cleared."""
        queue_name = worker_exit.consumer.queue_name
        self.exits[queue_name, worker_exit.cause] += 1
        self.lost_leases[queue_name] += worker_exit.lost_leases
        self.found[queue_name] += worker_exit.claims.found
        self.empty[queue_name] += worker_exit.claims.empty
