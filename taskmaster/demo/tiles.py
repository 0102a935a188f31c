"""Cut the poster into tiles of about the same work, by a sketch that is timed on this machine."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmaster.demo.mandelbrot import Poster, steps

SKETCH_WIDTH = 160
SKETCH_ROUNDS = 3
PIXEL_STEPS = 14  # colouring a pixel costs as much as this number of steps
TARGET_SECONDS = 0.15
SMALLEST_SIDE = 2
MAX_WIDTH = 7680


class Tile(NamedTuple):
    """A rectangle of the poster, in pixels."""

    number: int
    left: int
    top: int
    width: int
    height: int


class Area(NamedTuple):
    """A part of the poster, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Sketch(NamedTuple):
    """A small version of the poster: the steps in each pixel, and the seconds of a step here."""

    width: int
    height: int
    work: Sequence[Sequence[int]]
    step_seconds: float

    def pixel_seconds(self) -> float:
        """Return the average seconds of a pixel."""
        return self.step_seconds * sum(map(sum, self.work)) / (self.width * self.height)

    def seconds(self, poster: Poster, area: Area) -> float:
        """Estimate the seconds of an area, by the pixels of the sketch that lie in it."""
        rows = _cells(area.top, area.height, poster.height, self.height)
        columns = _cells(area.left, area.width, poster.width, self.width)
        work = [self.work[row][column] for row in rows for column in columns]
        return self.step_seconds * sum(work) / len(work) * area.width * area.height


def sketch(poster: Poster) -> Sketch:
    """Compute a small version of the poster, and time it.

    The fastest of a few rounds counts, because other processes may slow one down.
    """
    small = poster.sketch(SKETCH_WIDTH)
    best = float("inf")
    for _ in range(SKETCH_ROUNDS):
        since = time.process_time()
        work = [
            [_work(small, column, row) for column in range(small.width)]
            for row in range(small.height)
        ]
        best = min(best, time.process_time() - since)
    return Sketch(small.width, small.height, work, best / sum(map(sum, work)))


def width_for(small: Sketch, *, cpu_seconds: float, ratio: float) -> int:
    """Return the width of a poster that takes `cpu_seconds` in all, as a multiple of 16."""
    pixels = cpu_seconds / small.pixel_seconds()
    return min(MAX_WIDTH, max(16, int((pixels * ratio) ** 0.5) // 16 * 16))


def cut(poster: Poster, small: Sketch, *, target_seconds: float = TARGET_SECONDS) -> list[Tile]:
    """Return tiles that cover the poster exactly once.

    Each takes 0.7 to 1.4 times the target where the sketch is right.
    """
    whole = Area(0, 0, poster.width, poster.height)
    areas = _split(poster, small, whole, target_seconds * 2**0.5)
    return [Tile(number=number, **area._asdict()) for number, area in enumerate(areas)]


def _split(poster: Poster, small: Sketch, area: Area, max_seconds: float) -> Iterator[Area]:
    """Halve the area until each part takes at most `max_seconds`."""
    is_small = max(area.width, area.height) < 2 * SMALLEST_SIDE
    if is_small or small.seconds(poster, area) <= max_seconds:
        yield area
        return
    for half in _halves(area):
        yield from _split(poster, small, half, max_seconds)


def _halves(area: Area) -> tuple[Area, Area]:
    left, top, width, height = area
    if width >= height:
        half = width // 2
        return Area(left, top, half, height), Area(left + half, top, width - half, height)
    half = height // 2
    return Area(left, top, width, half), Area(left, top + half, width, height - half)


def _work(poster: Poster, column: int, row: int) -> int:
    return steps(poster.point(column, row), poster.limit)[0] + PIXEL_STEPS


def _cells(start: int, length: int, full: int, small: int) -> range:
    """Return the cells of the sketch that a stretch of the poster covers, at least one."""
    first = start * small // full
    return range(first, max(first + 1, (start + length) * small // full))
