"""Where claims begin."""

from taskmaster.store.cursor import (
    BOTTOM,
    BOTTOM_EVERY_SECONDS,
    MOST_HELD,
    PRIORITIES,
    SKIPPED_SECONDS,
    SWEEP_EVERY_SECONDS,
    TOP,
    Cursor,
    Horizon,
    open_lanes,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def full(
    cursor: Cursor, *claimed: tuple[int, int], sweep: bool = False, seconds: float = 0.001
) -> None:
    """Record a claim that found as many jobs as it wanted."""
    cursor.start(sweep)
    cursor.record(claimed, wanted=len(claimed), sweep=sweep, seconds=seconds)


def short(cursor: Cursor, *claimed: tuple[int, int], sweep: bool = False) -> None:
    cursor.start(sweep)
    cursor.record(claimed, wanted=len(claimed) + 1, sweep=sweep, seconds=0.001)


def test_new_cursor_begins_with_a_full_sweep() -> None:
    cursor = Cursor(Clock())
    assert cursor.is_sweep_due()
    assert set(cursor.start(True).lows) == {BOTTOM}


def test_claim_begins_behind_the_entries_of_the_last_one() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), (0, 101), sweep=True)
    assert not cursor.is_sweep_due()
    assert cursor.start(False).lows[0] == 99
    assert cursor.start(False).lows[1] == BOTTOM


def test_row_committed_late_is_found_by_the_next_sweep() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    full(cursor, (0, 100), sweep=True)
    full(cursor, (0, 200))
    assert not cursor.is_sweep_due()
    clock.now += SWEEP_EVERY_SECONDS
    assert cursor.is_sweep_due()
    assert cursor.start(True).lows[0] == BOTTOM


def test_short_claim_is_followed_by_a_sweep() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), sweep=True)
    short(cursor)
    assert cursor.is_sweep_due()


def test_skipped_job_is_left_out_for_a_while() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    assert cursor.skip((1, 50))
    assert not cursor.skip((1, 50))
    lanes = list(zip(*cursor.start(True), strict=True))
    assert lanes[:4] == [(0, BOTTOM, TOP), (1, BOTTOM, 49), (1, 50, TOP), (2, BOTTOM, TOP)]
    assert open_lanes(cursor.start(True)).lows[:3] == [BOTTOM, 50, BOTTOM]
    clock.now += SKIPPED_SECONDS
    assert cursor.start(True).priorities == PRIORITIES


def test_job_found_by_a_sweep_does_not_move_the_cursor_back() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), (0, 101), sweep=True)
    full(cursor, (0, 5), (0, 200), sweep=True)
    assert cursor.start(False).lows[0] == 99


def test_sweeps_take_at_most_a_tenth_of_the_time() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    full(cursor, (0, 100), sweep=True, seconds=0.5)
    clock.now += 4.9
    assert not cursor.is_sweep_due()
    clock.now += 0.2
    assert cursor.is_sweep_due()


def swept(
    cursor: Cursor, *claimed: tuple[int, int], wanted: int = 100, xmin: int, xmax: int, drawn: int
) -> None:
    """A sweep that found this, and the horizon after it, in which they are leased."""
    cursor.start(True)
    horizon = Horizon(xmin, xmax, drawn, dict(reversed(claimed)))
    cursor.raise_floors(cursor.lanes(claimed, wanted=wanted), horizon, seconds=0.0)


def test_floor_never_passes_what_may_still_be_committed() -> None:
    cursor = Cursor(Clock())
    swept(cursor, xmin=5, xmax=10, drawn=1000)
    swept(cursor, xmin=9, xmax=20, drawn=2000)
    swept(cursor, xmin=9, xmax=20, drawn=2000)
    # A transaction that drew a position before the first sweep may be open still.
    assert cursor.start(True).lows[0] == BOTTOM
    swept(cursor, xmin=10, xmax=30, drawn=3000)
    # It has ended now, but perhaps not yet in the snapshot of this sweep.
    assert cursor.start(True).lows[0] == BOTTOM
    swept(cursor, xmin=30, xmax=30, drawn=3000)
    assert cursor.start(True).lows[0] == 1000


def test_floor_stays_below_the_lowest_job() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, (0, 7), xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True).lows[:2] == [6, 1000]


def test_full_claim_raises_no_floor_of_later_priorities() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, (0, 7), wanted=1, xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True).lows[:2] == [6, BOTTOM]


def test_job_below_the_floor_is_found_within_a_minute() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    for _ in range(3):
        swept(cursor, xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True).lows[0] == 1000
    clock.now += BOTTOM_EVERY_SECONDS
    assert set(cursor.start(True).lows) == {BOTTOM}


def look(cursor: Cursor, *held: tuple[int, int], drawn: int = 1000) -> None:
    """Look at the horizon after a sweep, with jobs held at these places."""
    cursor.start(True)
    horizon = Horizon(xmin=10, xmax=10, drawn=drawn, lowest={}, held=held)
    cursor.raise_floors(PRIORITIES, horizon, seconds=0.0)


def test_sweep_looks_for_held_jobs_below_the_floor() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        look(cursor, (0, 300), (4, 500), (4, 2000))
    lanes = cursor.start(True)
    assert list(zip(*lanes, strict=True))[:3] == [(0, 299, 300), (0, 1000, TOP), (1, 1000, TOP)]
    assert (4, 499, 500) in zip(*lanes, strict=True)
    assert lanes.priorities == sorted(lanes.priorities)
    # A job that is held above the floor is found by the open lane.
    assert len(lanes.lows) == len(PRIORITIES) + 2


def test_claim_at_the_cursor_does_not_look_for_held_jobs() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        look(cursor, (0, 300))
    assert cursor.start(False).highs == [TOP] * len(PRIORITIES)


def test_floor_stays_below_held_jobs_beyond_the_limit() -> None:
    cursor = Cursor(Clock())
    held = [(0, 10 * number) for number in range(1, MOST_HELD + 2)]
    for _ in range(3):
        look(cursor, *held)
    lanes = cursor.start(True)
    assert len(lanes.lows) == len(PRIORITIES) + MOST_HELD
    assert lanes.lows[MOST_HELD] == 10 * (MOST_HELD + 1) - 1


def test_sweep_from_the_bottom_forgets_held_jobs() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    for _ in range(3):
        look(cursor, (0, 300))
    clock.now += BOTTOM_EVERY_SECONDS
    assert set(cursor.start(True).lows) == {BOTTOM}


def test_a_floor_that_was_raised_does_not_sink() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, xmin=10, xmax=10, drawn=1000)
    swept(cursor, (0, 7), xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True).lows[0] == 1000


def test_a_full_claim_looked_at_every_priority_before_its_last() -> None:
    assert Cursor(Clock()).lanes([(2, 5), (4, 6)], wanted=2) == [0, 1, 2, 3, 4]


def test_looking_at_the_horizon_counts_as_sweeping() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    full(cursor, (0, 100), sweep=True, seconds=0.1)
    cursor.raise_floors([0], Horizon(10, 10, 1000, {}), seconds=0.2)
    clock.now += 2.9
    assert not cursor.is_sweep_due()
    clock.now += 0.2
    assert cursor.is_sweep_due()
