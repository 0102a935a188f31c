"""The picture: points, colours, and a PNG that a strict reader accepts."""

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from taskmaster.demo import palette, png
from taskmaster.demo.assembly import assemble, missing_tiles
from taskmaster.demo.callbacks import tile_path
from taskmaster.demo.mandelbrot import Poster, smooth, steps
from taskmaster.demo.tiles import Tile


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG, after verifying each checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, start = [], 8
    while start < len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        content = data[start + 8 : start + 8 + length]
        assert struct.unpack(">I", data[start + 8 + length : start + 12 + length])[0] == zlib.crc32(
            kind + content
        )
        found.append((kind, content))
        start += 12 + length
    return found


def decode(path: Path) -> tuple[int, int, bytes]:
    """Return width, height and pixels."""
    (_, header), (_, data), end = chunks(path.read_bytes())
    width, height, *rest = struct.unpack(">IIBBBBB", header)
    assert (rest, end) == ([8, 2, 0, 0, 0], (b"IEND", b""))
    raw, line = zlib.decompress(data), width * 3 + 1
    assert all(raw[row * line] == 0 for row in range(height))
    return width, height, b"".join(raw[row * line + 1 : (row + 1) * line] for row in range(height))


def test_reader_sees_the_pixels_that_were_written(tmp_path: Path) -> None:
    pixels = bytes(range(2 * 3 * 3))

    png.write(tmp_path / "small.png", 2, 3, pixels)

    assert decode(tmp_path / "small.png") == (2, 3, pixels)


def test_picture_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(struct.error):
        png.write(tmp_path / "small.png", -1, 1, b"")

    assert list(tmp_path.iterdir()) == []


def test_missing_tile_is_named_and_the_others_are_in_place(tmp_path: Path) -> None:
    tiles = [Tile(0, 0, 0, 1, 2), Tile(1, 1, 0, 1, 1), Tile(2, 1, 1, 1, 1)]
    tile_path(tmp_path, tiles[0]).write_bytes(b"aaabbb")
    tile_path(tmp_path, tiles[2]).write_bytes(b"ccc")

    assert missing_tiles(tmp_path, tiles) == [tiles[1]]

    assemble(tmp_path, Poster(2, 2), tiles, tmp_path / "out.png")
    assert decode(tmp_path / "out.png") == (2, 2, b"aaa\0\0\0bbbccc")


def test_half_written_tile_counts_as_missing(tmp_path: Path) -> None:
    tile = Tile(0, 0, 0, 2, 2)
    tile_path(tmp_path, tile).write_bytes(b"half")

    assert missing_tiles(tmp_path, [tile]) == [tile]


def test_middle_of_the_poster_is_the_centre_of_the_view() -> None:
    poster = Poster(3, 3, centre=-0.5 + 0.25j, span=3.0)

    assert poster.point(1, 1) == -0.5 + 0.25j
    assert poster.point(2, 0) == 0.5 + 1.25j


def test_points_inside_stay_and_points_outside_escape() -> None:
    assert steps(0j, 500) == (500, 0.0)
    step, far = steps(1 + 1j, 500)
    assert step < 10
    assert far > 32


def test_colours_have_no_edge_where_the_step_count_jumps() -> None:
    # On this line the step count jumps six times, without fine structures.
    points = [complex(0.5 + number * 0.001, 0.6) for number in range(1000)]

    speeds = [smooth(*steps(point, 1000)) for point in points]

    assert max(abs(a - b) for a, b in pairwise(speeds)) < 0.1


@pytest.mark.parametrize("speed", [0.0, 0.5, 17.3, 1e3, 1e6])
def test_every_speed_has_a_colour(speed: float) -> None:
    assert len(palette.colour(speed)) == 3


def test_palette_ends_where_it_begins() -> None:
    assert all(
        abs(a - b) <= 2 for a, b in zip(palette.PALETTE[0], palette.PALETTE[-1], strict=True)
    )
