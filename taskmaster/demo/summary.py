"""The figures of the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmaster.demo.journal import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All figures, in the units that their names end with.

    `killed_*`, `settled_after_seconds` and `run_again_after_seconds` are None if no worker was
    killed, or if the fact did not happen in time.
    """

    tiles: int
    tiles_present: int
    runs: int
    left_in_queue: int
    workers: int
    cores: int
    wall_seconds: float
    drain_seconds: float
    cpu_seconds: float
    tile_median_ms: float
    tile_p95_ms: float
    pickup_p50_ms: float
    pickup_p99_ms: float
    acked: int
    rejected_then_requeued: int
    crashed_then_run_again: int
    killed_pid: int | None
    killed_tile: int | None
    settled_after_seconds: float | None
    run_again_after_seconds: float | None
    width: int
    height: int
    picture: Path

    @property
    def is_complete(self) -> bool:
        """Return whether every tile was rendered and no job is left."""
        return self.tiles_present == self.tiles == self.acked and self.left_in_queue == 0

    @property
    def cpu_efficiency(self) -> float:
        """Return the share of the cores' time that callbacks used while draining."""
        cores_seconds = self.drain_seconds * min(self.cores, self.workers)
        return self.cpu_seconds / cores_seconds if cores_seconds else 0.0

    @property
    def jobs_per_second(self) -> float:
        return self.acked / self.drain_seconds if self.drain_seconds else 0.0


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that `part` of all values do not exceed, or 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def drain_seconds(runs: Sequence[Run]) -> float:
    """Return the seconds from the first beginning to the last end."""
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return max(ends) - min(run.began_at for run in runs) if ends else 0.0


def durations_ms(runs: Sequence[Run]) -> list[float]:
    """Return how long each finished run took."""
    return [(run.ended_at - run.began_at) * 1000 for run in runs if run.ended_at is not None]
