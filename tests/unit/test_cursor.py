"""Where claims begin."""

from taskmaster.store.cursor import (
    BOTTOM,
    BOTTOM_EVERY_SECONDS,
    SWEEP_EVERY_SECONDS,
    Cursor,
    Horizon,
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
    assert set(cursor.start(True)) == {BOTTOM}


def test_claim_begins_behind_the_entries_of_the_last_one() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), (0, 101), sweep=True)
    assert not cursor.is_sweep_due()
    assert cursor.start(False)[0] == 99
    assert cursor.start(False)[1] == BOTTOM


def test_row_committed_late_is_found_by_the_next_sweep() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    full(cursor, (0, 100), sweep=True)
    full(cursor, (0, 200))
    assert not cursor.is_sweep_due()
    clock.now += SWEEP_EVERY_SECONDS
    assert cursor.is_sweep_due()
    assert cursor.start(True)[0] == BOTTOM


def test_short_claim_is_followed_by_a_sweep() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), sweep=True)
    short(cursor)
    assert cursor.is_sweep_due()


def test_job_found_by_a_sweep_does_not_move_the_cursor_back() -> None:
    cursor = Cursor(Clock())
    full(cursor, (0, 100), (0, 101), sweep=True)
    full(cursor, (0, 5), (0, 200), sweep=True)
    assert cursor.start(False)[0] == 99


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
    assert cursor.start(True)[0] == BOTTOM
    swept(cursor, xmin=10, xmax=30, drawn=3000)
    # It has ended now, but perhaps not yet in the snapshot of this sweep.
    assert cursor.start(True)[0] == BOTTOM
    swept(cursor, xmin=30, xmax=30, drawn=3000)
    assert cursor.start(True)[0] == 1000


def test_floor_stays_below_the_lowest_job() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, (0, 7), xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True)[:2] == [6, 1000]


def test_full_claim_raises_no_floor_of_later_priorities() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, (0, 7), wanted=1, xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True)[:2] == [6, BOTTOM]


def test_job_below_the_floor_is_found_within_a_minute() -> None:
    clock = Clock()
    cursor = Cursor(clock)
    for _ in range(3):
        swept(cursor, xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True)[0] == 1000
    clock.now += BOTTOM_EVERY_SECONDS
    assert set(cursor.start(True)) == {BOTTOM}


def test_a_floor_stays_below_the_lowest_position_still_held() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        cursor.start(True)
        held = Horizon(xmin=10, xmax=10, drawn=1000, lowest={0: 300, 4: 2000})
        cursor.raise_floors(cursor.lanes([], wanted=1), held, seconds=0.0)
    assert cursor.start(True)[:5] == [299, 1000, 1000, 1000, 1000]


def test_a_floor_that_was_raised_does_not_sink() -> None:
    cursor = Cursor(Clock())
    for _ in range(3):
        swept(cursor, xmin=10, xmax=10, drawn=1000)
    swept(cursor, (0, 7), xmin=10, xmax=10, drawn=1000)
    assert cursor.start(True)[0] == 1000


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
