"""The number of jobs per claim: about 20 ms of work by the measured mean. Pure policy."""

from dataclasses import dataclass, field

from taskmaster.consumer import MAX_BATCH

TARGET_SECONDS = 0.020
GROWTH = 8  # the mean of one job is a guess, so approach the target in steps
WEIGHT = 0.3


@dataclass(slots=True)
class BatchSize:
    """The size of the next claim. `fixed` is the consumer's own choice, or None to measure."""

    fixed: int | None = None
    mean_seconds: float | None = None
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.fixed or 1

    def next(self) -> int:
        """Return how many jobs to claim now: 1 until the mean is known, 500 at most."""
        self.last = max(1, min(self._target(), self.last * GROWTH, MAX_BATCH))
        return self.last

    def restart(self) -> None:
        """Begin with 1 again: a large batch may have been too much for one row of Postgres."""
        self.last = 0

    def record(self, jobs: int, seconds: float) -> None:
        """Update the mean with the duration of a batch."""
        if not jobs:
            return
        mean = seconds / jobs
        old = self.mean_seconds
        is_slower = old is None or mean > old
        self.mean_seconds = mean if old is None or is_slower else old + WEIGHT * (mean - old)

    def _target(self) -> int:
        if self.fixed is not None:
            return self.fixed
        mean = self.mean_seconds
        return 1 if mean is None else int(TARGET_SECONDS / max(mean, 1e-9))
