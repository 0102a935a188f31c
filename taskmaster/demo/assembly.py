"""Assemble the tiles' files into one picture."""

from collections.abc import Sequence
from pathlib import Path

from taskmaster.demo import png
from taskmaster.demo.callbacks import tile_path
from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.tiles import Tile


def missing_tiles(directory: Path, tiles: Sequence[Tile]) -> list[Tile]:
    """Return the tiles without a complete file."""
    return [
        tile for tile in tiles if _size(tile_path(directory, tile)) != tile.width * tile.height * 3
    ]


def assemble(directory: Path, poster: Poster, tiles: Sequence[Tile], out: Path) -> None:
    """Write the poster. A missing tile stays black."""
    canvas = bytearray(poster.width * poster.height * 3)
    missing = set(missing_tiles(directory, tiles))
    for tile in tiles:
        if tile not in missing:
            _place(canvas, poster.width, tile, tile_path(directory, tile).read_bytes())
    png.write(out, poster.width, poster.height, bytes(canvas))


def _place(canvas: bytearray, width: int, tile: Tile, pixels: bytes) -> None:
    line = tile.width * 3
    for row in range(tile.height):
        start = ((tile.top + row) * width + tile.left) * 3
        canvas[start : start + line] = pixels[row * line : (row + 1) * line]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
