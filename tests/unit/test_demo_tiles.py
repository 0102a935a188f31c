"""Cutting the poster into tiles: no gaps and no overlaps, whatever its size."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.tiles import Sketch, Tile, cut, width_for

FLAT = Sketch(4, 2, [[100] * 4] * 2, step_seconds=1e-6)
ONE_SIDED = Sketch(4, 2, [[10, 10, 10, 3000]] * 2, step_seconds=1e-6)


def pixels(tile: Tile) -> list[tuple[int, int]]:
    return [
        (column, row)
        for column in range(tile.left, tile.left + tile.width)
        for row in range(tile.top, tile.top + tile.height)
    ]


@settings(max_examples=40)
@given(width=st.integers(1, 90), height=st.integers(1, 60), target=st.floats(1e-6, 1.0))
def test_every_pixel_is_in_exactly_one_tile(width: int, height: int, target: float) -> None:
    tiles = cut(Poster(width, height), ONE_SIDED, target_seconds=target)

    seen = Counter(pixel for tile in tiles for pixel in pixels(tile))

    assert len(seen) == width * height
    assert set(seen.values()) == {1}


def test_tiles_are_numbered_from_0() -> None:
    tiles = cut(Poster(64, 32), FLAT, target_seconds=0.01)

    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert len(tiles) > 1


def test_costly_corner_is_cut_finer_than_an_empty_one() -> None:
    tiles = cut(Poster(400, 200), ONE_SIDED, target_seconds=0.5)

    costly = max(tile.width * tile.height for tile in tiles if tile.left >= 300)
    cheap = max(tile.width * tile.height for tile in tiles if tile.left + tile.width <= 300)
    assert costly < cheap


def test_no_tile_takes_much_longer_than_the_target() -> None:
    poster = Poster(1600, 800)

    for tile in cut(poster, FLAT, target_seconds=0.5):
        assert 0.3 < tile.width * tile.height * 100e-6 < 0.8


@pytest.mark.parametrize(("seconds", "width"), [(0.0, 16), (1.28, 144), (1e9, 7680)])
def test_width_fits_the_machine_and_has_bounds(seconds: float, width: int) -> None:
    assert width_for(FLAT, cpu_seconds=seconds, ratio=16 / 9) == width
