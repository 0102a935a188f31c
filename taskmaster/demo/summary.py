"""What the demo has to show for itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmaster.demo.journal import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures. Seconds unless the name says otherwise; `*_seconds` None: nothing to measure."""

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
    given_back_after_seconds: float | None
    run_again_after_seconds: float | None
    width: int
    height: int
    picture: Path

    @property
    def complete(self) -> bool:
        """Is every tile there, and nothing left over?"""
        return self.tiles_present == self.tiles == self.acked and self.left_in_queue == 0

    @property
    def cpu_efficiency(self) -> float:
        """CPU seconds of the callbacks, of those that the cores had to give while draining."""
        return (
            self.cpu_seconds / (self.drain_seconds * min(self.cores, self.workers))
            if self.drain_seconds
            else 0.0
        )

    @property
    def jobs_per_second(self) -> float:
        return self.acked / self.drain_seconds if self.drain_seconds else 0.0


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of all values do not exceed; 0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def drained(runs: Sequence[Run]) -> float:
    """From the first beginning to the last end."""
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return max(ends) - min(run.began_at for run in runs) if ends else 0.0


def durations_ms(runs: Sequence[Run]) -> list[float]:
    """How long each finished run took."""
    return [(run.ended_at - run.began_at) * 1000 for run in runs if run.ended_at is not None]
