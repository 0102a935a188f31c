"""Numbers for workers, the smallest that no living one has: they name the files in which it counts."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Numbers:
    """A number that was given back is used again, so there are no more of them than workers at once.

    `directory`: where the workers count; None: they do not.
    """

    directory: str | None = None
    taken: set[int] = field(default_factory=set)

    def take(self) -> int:
        number = next(number for number in itertools.count() if number not in self.taken)
        self.taken.add(number)
        return number

    def give_back(self, number: int) -> None:
        """Its process is reaped: two living ones with one number would overwrite each other's counts.

        What it said of its present state is no longer so: prometheus-client keeps that in files named "gauge_live…".
        """
        self.taken.discard(number)
        if self.directory is not None:
            for file in Path(self.directory).glob(f"gauge_live*_{number}.db"):
                file.unlink(missing_ok=True)
