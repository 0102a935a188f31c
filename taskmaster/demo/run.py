"""Run the demo: measure the idle system, render the poster with faults, and sum up."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmaster.admin import Admin
from taskmaster.demo.assembly import assemble, missing_tiles
from taskmaster.demo.environment import (
    PROBES,
    TILES,
    one_interrupt,
    run_workers,
    scratch,
    throwaway_schema,
)
from taskmaster.demo.journal import Journal
from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.output import Output
from taskmaster.demo.rendering import STALL_SECONDS, Rendering
from taskmaster.demo.summary import Summary
from taskmaster.demo.tiles import Tile, cut, sketch, width_for
from taskmaster.publisher import Publisher

SHAPE = 16 / 9
SKETCHED = Poster(1920, 1080)
PROBE_SECONDS = 0.02  # between two probes, so that the worker is idle again


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The user's options.

    If `width` is None, the poster is as wide as this machine renders in about `seconds`.
    """

    out: Path
    width: int | None = None
    seconds: float = 23.0
    tile_seconds: float = 0.15
    probes: int = 100
    keep: bool = False


def run(options: Options, output: Output) -> Summary:
    """Run the demo. Ctrl-C leaves nothing behind."""
    since = time.monotonic()
    with (
        one_interrupt(),
        throwaway_schema(keep=options.keep) as (url, schema),
        scratch(keep=options.keep) as directory,
    ):
        poster, tiles = plan(options)
        output.report(
            f"A poster of {poster.width} × {poster.height} pixels, {len(tiles)} tiles, "
            f"{cores()} workers"
        )
        with (
            run_workers(url, schema, directory, poster, cores()),
            Publisher(url, schema=schema) as publisher,
            Admin(url, schema=schema) as admin,
            Journal(directory / "journal") as journal,
        ):
            pickups_ms = probe(publisher, journal, options.probes, output)
            ids = publisher.put_many(TILES, payloads(tiles))
            rendering = Rendering(admin, journal, dict(zip(ids, tiles, strict=True)), TILES)
            rendering.watch(output)
            left = admin.size(TILES)
        output.report("Assembling the picture")
        assemble(directory, poster, tiles, options.out)
        present = len(tiles) - len(missing_tiles(directory, tiles))
        if options.keep:
            output.report(f"Kept: schema {schema} and the tiles in {directory}")
    return rendering.summary(
        pickups_ms,
        present=present,
        left=left,
        workers=cores(),
        wall_seconds=time.monotonic() - since,
        poster=poster,
        picture=options.out,
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def plan(options: Options) -> tuple[Poster, list[Tile]]:
    """Return the poster and its tiles, sized by what a sketch costs on this machine."""
    small = sketch(SKETCHED)
    cpu_seconds = options.seconds * cores()
    width = options.width or width_for(small, cpu_seconds=cpu_seconds, ratio=SHAPE)
    poster = Poster(width, max(1, round(width / SHAPE)))
    return poster, cut(poster, small, target_seconds=options.tile_seconds)


def payloads(tiles: Sequence[Tile]) -> list[dict[str, object]]:
    """Return one payload per tile. One tile, a quarter of the way in, is rejected once."""
    return [{"tile": tile._asdict(), "flawed": tile.number == len(tiles) // 4} for tile in tiles]


def probe(publisher: Publisher, journal: Journal, count: int, output: Output) -> list[float]:
    """Put jobs one by one into the idle system.

    Return the milliseconds from before each put to the first line of its callback.
    """
    output.report(f"Putting {count} jobs one by one into the idle system")
    put_at: dict[int, float] = {}
    for _ in range(count):
        now = time.monotonic()
        put_at[publisher.put(PROBES)] = now
        time.sleep(PROBE_SECONDS)
    deadline = time.monotonic() + STALL_SECONDS
    while finish_count(journal.read()) < count and time.monotonic() < deadline:
        time.sleep(PROBE_SECONDS)
    return [(run.began_at - put_at[run.job]) * 1000 for run in journal.runs]


def finish_count(journal: Journal) -> int:
    return sum(run.ended_at is not None for run in journal.runs)
