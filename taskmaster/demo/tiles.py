"""Cut the poster into jobs of about the same work, by a sketch that is timed on this machine."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmaster.demo.mandelbrot import Poster, steps

SKETCH_WIDTH = 160
SKETCH_ROUNDS = 3
PIXEL_STEPS = 14  # what colouring a pixel costs, in steps
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
    left: int
    top: int
    width: int
    height: int


class Sketch(NamedTuple):
    """The poster in small: the work in each pixel, in steps, and what a step takes here, in seconds."""

    width: int
    height: int
    work: Sequence[Sequence[int]]
    step_seconds: float

    def pixel_seconds(self) -> float:
        """What a pixel costs on average."""
        return self.step_seconds * sum(map(sum, self.work)) / (self.width * self.height)

    def seconds(self, poster: Poster, area: Area) -> float:
        """What an area of the poster will cost, by the pixels of the sketch that lie in it."""
        rows = _cells(area.top, area.height, poster.height, self.height)
        columns = _cells(area.left, area.width, poster.width, self.width)
        work = [self.work[row][column] for row in rows for column in columns]
        return self.step_seconds * sum(work) / len(work) * area.width * area.height


def sketch(poster: Poster) -> Sketch:
    """Compute the poster in small, and time it. The fastest of a few rounds: others may be at work meanwhile."""
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


def fitting_width(drawn: Sketch, *, cpu_seconds: float, ratio: float) -> int:
    """How wide a poster may be to take so long in all; a multiple of 16."""
    pixels = cpu_seconds / drawn.pixel_seconds()
    return min(MAX_WIDTH, max(16, int((pixels * ratio) ** 0.5) // 16 * 16))


def cut(poster: Poster, drawn: Sketch, *, target_seconds: float = TARGET_SECONDS) -> list[Tile]:
    """Tiles that cover the poster exactly once, each of 0.7 to 1.4 times the target where the sketch is right."""
    areas = _halved(poster, drawn, Area(0, 0, poster.width, poster.height), target_seconds * 2**0.5)
    return [Tile(number, *area) for number, area in enumerate(areas)]


def _halved(poster: Poster, drawn: Sketch, area: Area, most_seconds: float) -> Iterator[Area]:
    if (
        max(area.width, area.height) < 2 * SMALLEST_SIDE
        or drawn.seconds(poster, area) <= most_seconds
    ):
        yield area
        return
    for half in _halves(area):
        yield from _halved(poster, drawn, half, most_seconds)


def _halves(area: Area) -> tuple[Area, Area]:
    left, top, width, height = area
    if width >= height:
        return Area(left, top, width // 2, height), Area(
            left + width // 2, top, width - width // 2, height
        )
    return Area(left, top, width, height // 2), Area(
        left, top + height // 2, width, height - height // 2
    )


def _work(poster: Poster, column: int, row: int) -> int:
    return steps(poster.point(column, row), poster.limit)[0] + PIXEL_STEPS


def _cells(start: int, length: int, full: int, small: int) -> range:
    """The cells of the sketch that a stretch of the poster touches: one at least."""
    first = start * small // full
    return range(first, max(first + 1, (start + length) * small // full))
