"""What the supervisor counts from its start on, and what its dead workers have counted."""

from collections import Counter
from dataclasses import dataclass, field

from taskmaster.processes.ledger.worker_exit import WorkerExit
from taskmaster.processes.shared.scoreboard import Claims


@dataclass(slots=True)
class Counters:
    """`wakeups` by where they came from; `exits` by queue and cause; the rest by queue, of workers that are dead."""

    wakeups: Counter[str] = field(default_factory=Counter)
    exits: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost_leases: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)

    def count_exit(self, worker_exit: WorkerExit) -> None:
        """Keep what the slot of a dead worker says, before another has it."""
        queue_name = worker_exit.consumer.queue_name
        self.exits[queue_name, worker_exit.cause] += 1
        self.lost_leases[queue_name] += worker_exit.lost_leases
        self.add(queue_name, worker_exit.claims)

    def add(self, queue_name: str, claims: Claims) -> None:
        self.found[queue_name] += claims.found
        self.empty[queue_name] += claims.empty
