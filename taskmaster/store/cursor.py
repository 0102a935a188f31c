"""Where a worker's claims begin: pure policy that keeps them off the dead entries of the index.

A cursor is only a hint. A claim that came back short is followed by a sweep, and so is one claim a second; a sweep
begins at the floor, below which nothing visible was left when it was measured, and once a minute at 0.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from taskmaster.job import LOWEST_PRIORITY

PRIORITIES = list(range(LOWEST_PRIORITY + 1))  # a list: psycopg sends it as an array
BOTTOM = -1  # positions start at 1
SWEEP_EVERY_SECONDS = 1.0
BOTTOM_EVERY_SECONDS = 60.0
SLOW_SWEEP_SECONDS = 0.005
SWEEP_SHARE = 10  # a sweep is followed by at least ten times its own length of other work


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
    mark: tuple[int, int] | None = None  # (xmax, position): positions up to it are settled once xmin reaches xmax

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

    def record(self, claimed: Sequence[tuple[int, int]], *, wanted: int, sweep: bool, seconds: float) -> None:
        """Note a claim that found these (priority, position) pairs, lowest first, and took so long."""
        self.short = len(claimed) < wanted and not (sweep and claimed)
        if sweep:
            self.next_sweep = self.clock() + max(SWEEP_EVERY_SECONDS, SWEEP_SHARE * seconds)
        first: dict[int, int] = {}
        for priority, position in claimed:
            first.setdefault(priority, position)
        for priority, position in first.items():
            # What a sweep finds behind the cursor is late, and no reason to go back there every time.
            self.lows[priority] = max(self.lows[priority], position - 1)

    def floor_wanted(self, sweep: bool, seconds: float) -> bool:
        """Is it worth measuring the floor? Only when a sweep from the present one was slow."""
        return sweep and seconds > SLOW_SWEEP_SECONDS

    def raise_floors(self, lowest: Sequence[int | None], xmin: int, xmax: int, drawn: int) -> None:
        """Take what `floors.sql` measured: never beyond a position that an open transaction may still commit."""
        if self.mark is not None and xmin >= self.mark[0]:
            settled = self.mark[1]
            for priority, position in enumerate(lowest):
                beginning = settled if position is None else min(settled, position - 1)
                self.floors[priority] = max(self.floors[priority], beginning)
            self.mark = None
        if self.mark is None:
            self.mark = (xmax, drawn)
