"""The demo's callbacks: render one tile, or only note when a job was picked up.

Rendering a tile twice does no harm, because its file is replaced as a whole.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskmaster.demo import palette
from taskmaster.demo.journal import JournalWriter
from taskmaster.demo.mandelbrot import Poster, smooth, steps
from taskmaster.demo.tiles import Tile
from taskmaster.job import Job, Reject

FLAW = "a flaw in the paper: first time only"


@dataclass(frozen=True, slots=True)
class Renderer:
    """The component of the demo's consumers: the poster to render, and where the tiles go."""

    directory: Path
    poster: Poster
    journal: JournalWriter

    def take_flaw(self) -> bool:
        """Return True for the first call only, over all workers and runs."""
        try:
            (self.directory / "flaw").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def save(self, tile: Tile, pixels: bytes) -> None:
        """Write the tile's file in one step."""
        path = tile_path(self.directory, tile)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(pixels)
        temporary.replace(path)


@contextmanager
def open_renderer(directory: Path, poster: Poster) -> Iterator[Renderer]:
    """Yield this worker's renderer, with the journal open."""
    journal = JournalWriter(directory / "journal")
    try:
        yield Renderer(directory, poster, journal)
    finally:
        journal.close()


def render(job: Job) -> Reject | None:
    """Render the tile that the payload names."""
    renderer: Renderer = job.component
    with renderer.journal.run(job):
        if job.payload["flawed"] and renderer.take_flaw():
            return Reject(FLAW)
        tile = Tile(**job.payload["tile"])
        renderer.save(tile, render_pixels(renderer.poster, tile))
    return None


def note_pickup(job: Job) -> None:
    """Note in the journal that the job was picked up, and do nothing else."""
    renderer: Renderer = job.component
    with renderer.journal.run(job):
        pass


def render_pixels(poster: Poster, tile: Tile) -> bytes:
    """Return the tile's colours row by row, three bytes per pixel."""
    return b"".join(
        _colour(poster, column, row)
        for row in range(tile.top, tile.top + tile.height)
        for column in range(tile.left, tile.left + tile.width)
    )


def tile_path(directory: Path, tile: Tile) -> Path:
    """Return the file of the tile's pixels."""
    return directory / f"{tile.number}.rgb"


def _colour(poster: Poster, column: int, row: int) -> bytes:
    step, distance = steps(poster.point(column, row), poster.limit)
    return palette.INSIDE if distance == 0.0 else palette.colour(smooth(step, distance))
