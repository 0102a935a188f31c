"""Decide where a worker's claims begin, so that they do not walk the dead entries of the index.

A cursor is only a hint, and sweeps find what it missed. A sweep is a claim that begins at the
floor, below which no job is or can still appear. Every claim of an idle worker is a sweep, and so
are four claims a second of a busy one. Once a minute a sweep begins at the bottom, in case a floor
is wrong.

Pure policy, without a database. The workers use it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmaster.job import LOWEST_PRIORITY

PRIORITIES = list(range(LOWEST_PRIORITY + 1))  # a list, because psycopg sends it as an array
BOTTOM = -(2**63)  # positions start at 1, but a person may move a job in front of all others
# Often, because a sweep walks the dead index entries since the last one: many short walks are
# better than a long one.
SWEEP_EVERY_SECONDS = 0.25
BOTTOM_EVERY_SECONDS = 60.0
SLOW_SWEEP_SECONDS = 0.002
SWEEP_SHARE = 10  # a busy worker works at least ten times as long as it sweeps
MOST_HELD = 64  # a sweep looks for each of them by itself, which costs 2 µs
TOP = 2**63 - 1
SKIPPED_SECONDS = 5.0
MOST_SKIPPED = 64


Place = tuple[int, int]  # a job's priority and position


class Lanes(NamedTuple):
    """Where a claim looks, in this order: one priority, above a position and up to another."""

    priorities: Sequence[int]
    lows: Sequence[int]
    highs: Sequence[int]


class Horizon(NamedTuple):
    """One snapshot's view of the positions that may still become ready.

    Transactions below `xmin` have ended, and none from `xmax` on had begun when `drawn` was the
    last position drawn. `lowest`: for each priority, the lowest position of a job in ready, locked
    or not. `held`: the lowest places of jobs in leases, and of jobs held before that are in ready
    now, one more than `MOST_HELD` at most.
    """

    xmin: int
    xmax: int
    drawn: int
    lowest: Mapping[int, int]
    held: Sequence[Place] = ()


TOPS = [TOP] * len(PRIORITIES)


def _bottoms() -> list[int]:
    return [BOTTOM] * len(PRIORITIES)


@dataclass(slots=True)
class Cursor:
    """The claim cursor of one worker on one queue."""

    clock: Callable[[], float] = time.monotonic
    lows: list[int] = field(default_factory=_bottoms)
    floors: list[int] = field(default_factory=_bottoms)
    short: bool = True  # the last claim found less than it wanted
    next_sweep: float = 0.0
    next_bottom: float = 0.0
    mark: Horizon | None = None  # its `drawn` is settled once a later xmin has reached its xmax
    settled: int = BOTTOM  # put transactions that drew positions up to it have ended
    held: Sequence[Place] = ()  # jobs that were running, which can come back below the floors
    skipped: dict[Place, float] = field(default_factory=dict)  # until when

    def is_sweep_due(self) -> bool:
        """Return whether the next claim begins at the floor."""
        return self.short or self.clock() >= self.next_sweep

    def start(self, sweep: bool) -> Lanes:
        """Return where the next claim looks."""
        lanes = self._start(sweep)
        return _without(lanes, self._skipped_now()) if self.skipped else lanes

    def _start(self, sweep: bool) -> Lanes:
        if not sweep:
            return Lanes(PRIORITIES, self.lows, TOPS)
        now = self.clock()
        if now >= self.next_bottom:
            self.next_bottom = now + BOTTOM_EVERY_SECONDS
            self.floors, self.held = _bottoms(), ()
        below = [place for place in self.held if place[1] <= self.floors[place[0]]]
        return _sweep_lanes(self.floors, below) if below else Lanes(PRIORITIES, self.floors, TOPS)

    def skip(self, place: Place) -> bool:
        """Skip a job that cannot be claimed, for a while. Return whether it is a new one."""
        is_new = place not in self.skipped
        if len(self.skipped) >= MOST_SKIPPED:
            self.skipped.clear()
        self.skipped[place] = self.clock() + SKIPPED_SECONDS
        return is_new

    def sweep_next(self) -> None:
        """Let the next claim be a sweep."""
        self.next_sweep = 0.0

    def _skipped_now(self) -> list[Place]:
        now = self.clock()
        return [place for place, until in self.skipped.items() if until > now]

    def record(self, claimed: Sequence[Place], *, wanted: int, sweep: bool, seconds: float) -> None:
        """Note a claim that found jobs at these places, lowest first, and took so long."""
        self.short = len(claimed) < wanted and not (sweep and claimed)
        if sweep:
            self.next_sweep = self.clock() + max(SWEEP_EVERY_SECONDS, SWEEP_SHARE * seconds)
        for priority, position in _lowest(claimed).items():
            # A job that a sweep finds behind the cursor is late, and no reason to stay there.
            self.lows[priority] = max(self.lows[priority], position - 1)

    def is_horizon_wanted(self, sweep: bool, seconds: float) -> bool:
        """Return whether to look at the horizon: before the first floor, and after a slow sweep."""
        return sweep and (self.mark is None or seconds > SLOW_SWEEP_SECONDS)

    def lanes(self, claimed: Sequence[Place], *, wanted: int) -> list[int]:
        """Return the priorities that a claim with this result has looked at."""
        is_exhausted = len(claimed) < wanted
        return PRIORITIES if is_exhausted else PRIORITIES[: claimed[-1][0] + 1]

    def raise_floors(self, lanes: Sequence[int], horizon: Horizon, *, seconds: float) -> None:
        """Raise the floors of these priorities to just below the first job in ready.

        `settled` is from an earlier look, so every job at or below it that still exists is in the
        horizon's snapshot: in ready, locked by a claim or not, or in a lease. Only these can become
        ready again there, because only released jobs keep their positions. Sweeps look for those in
        leases one by one, so a long job does not hold the floor. `seconds`: how long the look took.
        """
        self.next_sweep += SWEEP_SHARE * seconds
        most = self.settled
        if len(horizon.held) > MOST_HELD:
            most = min(most, horizon.held[MOST_HELD][1] - 1)
        self.held = sorted(horizon.held[:MOST_HELD])
        for priority in lanes:
            safe = min(most, horizon.lowest.get(priority, TOP) - 1)
            self.floors[priority] = max(self.floors[priority], safe)
        if self.mark is None or horizon.xmin >= self.mark.xmax:
            self.settled = BOTTOM if self.mark is None else self.mark.drawn
            self.mark = horizon


def _sweep_lanes(floors: Sequence[int], below: Sequence[Place]) -> Lanes:
    """Return the lanes above the floors, and before each one those of the places below it."""
    lanes = [(priority, position - 1, position) for priority, position in below]
    lanes += [(priority, floors[priority], TOP) for priority in PRIORITIES]
    return Lanes(*map(list, zip(*sorted(lanes), strict=True)))


def _without(lanes: Lanes, places: Sequence[Place]) -> Lanes:
    """Return the lanes without these places: a lane that holds one becomes two."""
    parts = list(zip(*lanes, strict=True))
    for place in places:
        parts = [part for lane in parts for part in _split(lane, place)]
    return Lanes(*map(list, zip(*parts, strict=True)))


def _split(lane: tuple[int, int, int], place: Place) -> list[tuple[int, int, int]]:
    priority, low, high = lane
    if priority != place[0] or not low < place[1] <= high:
        return [lane]
    return [(priority, low, place[1] - 1), (priority, place[1], high)]


def open_lanes(lanes: Lanes) -> Lanes:
    """Return the lanes without an upper end: one for each priority, above all skipped jobs."""
    open_ones = [lane for lane in zip(*lanes, strict=True) if lane[2] == TOP]
    return Lanes(*map(list, zip(*open_ones, strict=True)))


def _lowest(claimed: Sequence[Place]) -> dict[int, int]:
    """Return the lowest position of each priority. `claimed` is sorted."""
    first: dict[int, int] = {}
    for priority, position in claimed:
        first.setdefault(priority, position)
    return first
