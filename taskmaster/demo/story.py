"""The demo from beginning to end: measure an idle system, render the poster, make trouble, count what came out."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmaster.admin import Admin
from taskmaster.demo.assembly import assemble, missing
from taskmaster.demo.journal import Journal, Run
from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.show import Show
from taskmaster.demo.stage import PROBES, TILES, one_interrupt, scratch, throwaway_schema, workers
from taskmaster.demo.summary import Summary, drained, durations_ms, percentile
from taskmaster.demo.tiles import Tile, cut, fitting_width, sketch
from taskmaster.demo.trouble import Trouble
from taskmaster.job import State
from taskmaster.publisher import Publisher

SHAPE = 16 / 9
SKETCHED = Poster(1920, 1080)
PROBE_SECONDS = 0.02  # between two probes: long enough for the worker to be idle again
POLL_SECONDS = 0.1
STALLED_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chooses. `width` None: as wide as renders in about `seconds` on this machine."""

    out: Path
    width: int | None = None
    seconds: float = 23.0
    tile_seconds: float = 0.15
    probes: int = 100
    keep: bool = False


def tell(options: Options, show: Show) -> Summary:
    """Run the demo. Ctrl-C leaves nothing behind."""
    since = time.monotonic()
    with (
        one_interrupt(),
        throwaway_schema(keep=options.keep) as (url, schema),
        scratch(keep=options.keep) as directory,
    ):
        poster, tiles = plan(options)
        show.say(
            f"A poster of {poster.width} × {poster.height} pixels, {len(tiles)} tiles, {cores()} workers"
        )
        with (
            workers(url, schema, directory, poster, cores()),
            Publisher(url, schema=schema) as publisher,
            Admin(url, schema=schema) as admin,
            Journal(directory / "journal") as journal,
        ):
            pickups = probe(publisher, journal, options.probes, show)
            painted = Painting(admin, journal, tiles, publisher.put_many(TILES, payloads(tiles)))
            painted.finish(show)
            left = admin.size(TILES)
        show.say("Assembling the picture")
        assemble(directory, poster, tiles, options.out)
        present = len(tiles) - len(missing(directory, tiles))
        if options.keep:
            show.say(f"Kept: schema {schema} and the tiles in {directory}")
    return painted.summary(
        pickups,
        present=present,
        left=left,
        wall_seconds=time.monotonic() - since,
        poster=poster,
        picture=options.out,
    )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def plan(options: Options) -> tuple[Poster, list[Tile]]:
    """The poster's size and its tiles, by what a sketch of it costs on this machine."""
    drawn = sketch(SKETCHED)
    width = options.width or fitting_width(
        drawn, cpu_seconds=options.seconds * cores(), ratio=SHAPE
    )
    poster = Poster(width, max(1, round(width / SHAPE)))
    return poster, cut(poster, drawn, target_seconds=options.tile_seconds)


def payloads(tiles: Sequence[Tile]) -> list[dict[str, object]]:
    """One job for each tile; the one a quarter of the way in is rejected at its first run."""
    return [{"tile": list(tile), "flawed": tile.number == len(tiles) // 4} for tile in tiles]


def probe(publisher: Publisher, journal: Journal, count: int, show: Show) -> list[float]:
    """Put jobs one by one into the idle system: milliseconds from before the put to the callback's first line."""
    show.say(f"Putting {count} jobs one by one into the idle system")
    put_at: dict[int, float] = {}
    for _ in range(count):
        now = time.monotonic()
        put_at[publisher.put(PROBES)] = now
        time.sleep(PROBE_SECONDS)
    deadline = time.monotonic() + STALLED_SECONDS
    while len(finished(journal.read().runs)) < count and time.monotonic() < deadline:
        time.sleep(PROBE_SECONDS)
    return [(run.began_at - put_at[run.job]) * 1000 for run in journal.runs]


def finished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.ended_at is not None]


class Painting:
    """The tiles' jobs, from the put to the last ack."""

    def __init__(
        self, admin: Admin, journal: Journal, tiles: Sequence[Tile], ids: Sequence[int]
    ) -> None:
        self.admin = admin
        self.journal = journal
        self.tile_of = dict(zip(ids, tiles, strict=True))
        self.trouble = Trouble(admin, journal, TILES)
        self.began_at = time.monotonic()

    def finish(self, show: Show) -> None:
        """Watch until no job is left, or nothing moves any more; make trouble on the way."""
        done, moved_at = -1, time.monotonic()
        while done < len(self.tile_of) and time.monotonic() - moved_at < STALLED_SECONDS:
            time.sleep(POLL_SECONDS)
            left, rejected = self.left()
            if len(self.tile_of) - left > done:
                done, moved_at = len(self.tile_of) - left, time.monotonic()
            self.make_trouble(done, rejected, show)
            self.journal.read()
            show.progress(done, len(self.tile_of), self.figures(done))

    def left(self) -> tuple[int, int]:
        """Jobs that are still there, and those of them that are rejected."""
        counts = self.admin.counts()
        return sum(count.jobs for count in counts), sum(
            c.jobs for c in counts if c.state == State.REJECTED
        )

    def figures(self, done: int) -> str:
        rate = done / (time.monotonic() - self.began_at)
        return f"{rate:.1f}/s, {len(self.trouble.requeued)} rejected, {len(self.journal.running)} workers busy"

    def make_trouble(self, done: int, rejected: int, show: Show) -> None:
        """Halfway, kill a worker in the middle of a tile; and put back whatever is rejected."""
        if self.trouble.kill is None and done >= len(self.tile_of) // 2:
            kill = self.trouble.kill_busy_worker()
            if kill is not None:
                show.say(
                    f"Killed worker {kill.pid} (SIGKILL) in the middle of tile {self.tile_of[kill.job].number}"
                )
        if rejected:
            for job_id in self.trouble.requeue_rejected():
                show.say(
                    f"Tile {self.tile_of[job_id].number} was rejected; put back through Admin.requeue"
                )

    def summary(
        self,
        pickups: Sequence[float],
        *,
        present: int,
        left: int,
        wall_seconds: float,
        poster: Poster,
        picture: Path,
    ) -> Summary:
        runs = [run for run in self.journal.runs if run.job in self.tile_of]
        tile_ms = durations_ms([run for run in runs if run.job not in self.trouble.requeued])
        kill, again = self.trouble.kill, self.trouble.seconds_to_run_again()
        return Summary(
            tiles=len(self.tile_of),
            tiles_present=present,
            runs=len(runs),
            left_in_queue=left,
            workers=cores(),
            cores=cores(),
            wall_seconds=wall_seconds,
            drain_seconds=drained(runs),
            cpu_seconds=sum(run.cpu_seconds for run in runs),
            tile_median_ms=percentile(tile_ms, 0.5),
            tile_p95_ms=percentile(tile_ms, 0.95),
            pickup_p50_ms=percentile(pickups, 0.5),
            pickup_p99_ms=percentile(pickups, 0.99),
            acked=len(self.tile_of) - left,
            rejected_then_requeued=len(self.trouble.requeued),
            crashed_then_run_again=int(again is not None),
            killed_pid=None if kill is None else kill.pid,
            killed_tile=None if kill is None else self.tile_of[kill.job].number,
            given_back_after_seconds=self.trouble.given_back_after,
            run_again_after_seconds=again,
            width=poster.width,
            height=poster.height,
            picture=picture,
        )
