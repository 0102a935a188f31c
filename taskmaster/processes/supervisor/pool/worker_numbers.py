"""Numbers for workers, the smallest that no running worker has. They name the files in which it counts."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class WorkerNumbers:
    """Hands out numbers and takes them back, so there are no more numbers than workers at once.

    The workers count in files in `directory`; None if they do not count.
    """

    directory: str | None = None
    taken: set[int] = field(default_factory=set)

    def take(self) -> int:
        """Return the smallest free number."""
        number = next(number for number in itertools.count() if number not in self.taken)
        self.taken.add(number)
        return number

    def give_back(self, number: int) -> None:
        """Free a number. Its process must be reaped: two workers with one number would overwrite counts.

        The gauges of its present state no longer hold: prometheus-client keeps them in files named
        "gauge_live…".
        """
        self.taken.discard(number)
        if self.directory is not None:
            for file in Path(self.directory).glob(f"gauge_live*_{number}.db"):
                file.unlink(missing_ok=True)
