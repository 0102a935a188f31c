"""Worker numbers: each running worker has one, and it names the worker's metric files.

The supervisor hands them out. Numbers are reused, so the number of files stays bounded.
"""

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class WorkerNumbers:
    """Hands out the smallest number that no running worker has.

    `directory` is that of the metric files, or None if no exporter runs.
    """

    directory: str | None = None
    taken: set[int] = field(default_factory=set)

    def take(self) -> int:
        """Return the smallest free number."""
        number = next(number for number in itertools.count() if number not in self.taken)
        self.taken.add(number)
        return number

    def release(self, number: int) -> None:
        """Free a number. Its process must be reaped, or two workers would overwrite each other.

        Gauges of the worker's present state are removed, because they no longer hold. They are in
        the files that prometheus-client names "gauge_live…".
        """
        self.taken.discard(number)
        if self.directory is None:
            return
        with suppress(OSError):  # descriptors are short: the successor overwrites these gauges
            for file in Path(self.directory).glob(f"gauge_live*_{number}.db"):
                file.unlink(missing_ok=True)
