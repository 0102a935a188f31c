"""Where a worker's claims begin: pure policy that keeps them off the dead entries of the index.

A cursor is only a hint. A claim that came back short is followed by a sweep, and so are four claims a second; a sweep
begins at the floor, below which nothing was left or can still appear, and once a minute at 0.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmaster.job import LOWEST_PRIORITY

PRIORITIES = list(range(LOWEST_PRIORITY + 1))  # a list: psycopg sends it as an array
BOTTOM = -1  # positions start at 1
# Often, because each sweep walks the dead entries since the last one: four short walks a second rather than a long one.
SWEEP_EVERY_SECONDS = 0.25
BOTTOM_EVERY_SECONDS = 60.0
SLOW_SWEEP_SECONDS = 0.002
SWEEP_SHARE = 10  # a sweep is followed by at least ten times its own length of other work


Place = tuple[int, int]  # a job's priority and position


class Horizon(NamedTuple):
    """Transactions below `xmin` have ended, none from `xmax` on had begun; the last position `drawn` by then."""

    xmin: int
    xmax: int
    drawn: int


def _bottoms() -> list[int]:
    return [BOTTOM] * len(PRIORITIES)


@dataclass(slots=True)
class Cursor:
    """The claim cursor of one worker on one queue."""

    clock: Callable[[], float] = time.monotonic
    lows: list[int] = field(default_factory=_bottoms)
    floors: list[int] = field(default_factory=_bottoms)
    short: bool = True
    next_sweep: float = 0.0
    next_bottom: float = 0.0
    mark: Horizon | None = (
        None  # positions drawn until then are settled once a later xmin has reached its xmax
    )
    settled: int = BOTTOM  # positions up to it are visible or dead for every snapshot from now on

    def sweeping(self) -> bool:
        """Should the next claim begin at the floor?"""
        return self.short or self.clock() >= self.next_sweep

    def start(self, sweep: bool) -> list[int]:
        """For each priority, the position after which the next claim begins."""
        if not sweep:
            return self.lows
        now = self.clock()
        if now >= self.next_bottom:
            self.next_bottom = now + BOTTOM_EVERY_SECONDS
            self.floors = _bottoms()
        return self.floors

    def record(self, claimed: Sequence[Place], *, wanted: int, sweep: bool, seconds: float) -> None:
        """Note a claim that found jobs at these places, lowest first, and took so long."""
        self.short = len(claimed) < wanted and not (sweep and claimed)
        if sweep:
            self.next_sweep = self.clock() + max(SWEEP_EVERY_SECONDS, SWEEP_SHARE * seconds)
        for priority, position in lowest(claimed).items():
            # What a sweep finds behind the cursor is late, and no reason to go back there every time.
            self.lows[priority] = max(self.lows[priority], position - 1)

    def horizon_wanted(self, sweep: bool, seconds: float) -> bool:
        """Is it worth looking at the horizon? Before the first floor, and after a sweep that was slow."""
        return sweep and (self.mark is None or seconds > SLOW_SWEEP_SECONDS)

    def raise_floors(self, claimed: Sequence[Place], *, wanted: int, horizon: Horizon) -> None:
        """Begin the next sweep where this one began to find something; `horizon` was seen after it.

        Never beyond what was settled before this sweep began: an open transaction may still commit lower positions.
        What a claim in flight has locked is skipped here; should its backend die, its worker begins at the bottom.
        """
        found = lowest(claimed)
        exhausted = len(claimed) < wanted
        for priority in PRIORITIES:
            if priority in found or exhausted:
                safe = min(self.settled, found.get(priority, self.settled + 1) - 1)
                self.floors[priority] = max(self.floors[priority], safe)
        if self.mark is None or horizon.xmin >= self.mark.xmax:
            self.settled = BOTTOM if self.mark is None else self.mark.drawn
            self.mark = horizon


def lowest(claimed: Sequence[Place]) -> dict[int, int]:
    """For each priority, the lowest position; `claimed` is sorted."""
    first: dict[int, int] = {}
    for priority, position in claimed:
        first.setdefault(priority, position)
    return first
