"""The demo's callback: render one tile in a worker. Running a tile twice does no harm: its file is replaced whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskmaster.demo import palette
from taskmaster.demo.journal import Pen
from taskmaster.demo.mandelbrot import Poster, smooth, steps
from taskmaster.demo.tiles import Tile
from taskmaster.job import Job, Reject

FLAW = "a flaw in the paper: first time only"


@dataclass(frozen=True, slots=True)
class Studio:
    """Where a worker renders: the component of the demo's consumer."""

    directory: Path
    poster: Poster
    pen: Pen

    def take_flaw(self) -> bool:
        """True for the first who asks, over all workers and runs."""
        try:
            (self.directory / "flaw").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def keep(self, tile: Tile, pixels: bytes) -> None:
        """Write the tile's file in one step."""
        path = tile_path(self.directory, tile)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(pixels)
        fresh.replace(path)


@contextmanager
def studio(directory: Path, poster: Poster) -> Iterator[Studio]:
    """Open the journal in this worker."""
    pen = Pen(directory / "journal")
    try:
        yield Studio(directory, poster, pen)
    finally:
        pen.close()


def render(job: Job) -> Reject | None:
    """Render the tile that the payload names."""
    here: Studio = job.component
    with here.pen.run(job):
        if job.payload["flawed"] and here.take_flaw():
            return Reject(FLAW)
        tile = Tile(*job.payload["tile"])
        here.keep(tile, pixels(here.poster, tile))
    return None


def answer(job: Job) -> None:
    """Only tell when the job was picked up."""
    here: Studio = job.component
    with here.pen.run(job):
        pass


def pixels(poster: Poster, tile: Tile) -> bytes:
    """The tile's colours, row after row, three bytes a pixel."""
    return b"".join(
        _colour(poster, column, row)
        for row in range(tile.top, tile.top + tile.height)
        for column in range(tile.left, tile.left + tile.width)
    )


def tile_path(directory: Path, tile: Tile) -> Path:
    """Where the tile's pixels go."""
    return directory / f"{tile.number}.rgb"


def _colour(poster: Poster, column: int, row: int) -> bytes:
    step, far = steps(poster.point(column, row), poster.limit)
    return palette.INSIDE if far == 0.0 else palette.colour(smooth(step, far))
