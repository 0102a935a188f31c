"""The tiles' jobs from the put to the last ack, and the faults on the way."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from taskmaster.admin import Admin
from taskmaster.demo.faults import Faults
from taskmaster.demo.journal import Journal
from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.output import Output
from taskmaster.demo.summary import Summary, drain_seconds, durations_ms, percentile
from taskmaster.demo.tiles import Tile
from taskmaster.job import State

POLL_SECONDS = 0.1
STALL_SECONDS = 30.0


class Rendering:
    """The jobs of all tiles, by id."""

    def __init__(
        self, admin: Admin, journal: Journal, tiles: Mapping[int, Tile], queue_name: str
    ) -> None:
        self.admin = admin
        self.journal = journal
        self.tiles = tiles
        self.faults = Faults(admin, journal, queue_name)
        self.began_at = time.monotonic()

    def watch(self, output: Output) -> None:
        """Wait until no job is left or none has finished for long, and inject faults on the way."""
        done, progress_at = -1, time.monotonic()
        while done < len(self.tiles) and time.monotonic() - progress_at < STALL_SECONDS:
            time.sleep(POLL_SECONDS)
            left, rejected = self._count_jobs()
            if len(self.tiles) - left > done:
                done, progress_at = len(self.tiles) - left, time.monotonic()
            self._inject_faults(done, rejected, output)
            self.journal.read()
            output.progress(done, len(self.tiles), self._figures(done))

    def _count_jobs(self) -> tuple[int, int]:
        """Return how many jobs are left, and how many of them are rejected."""
        counts = self.admin.counts()
        rejected = [count.jobs for count in counts if count.state == State.REJECTED]
        return sum(count.jobs for count in counts), sum(rejected)

    def _figures(self, done: int) -> str:
        rate = done / (time.monotonic() - self.began_at)
        requeued, busy = len(self.faults.requeued), len(self.journal.running)
        return f"{rate:.1f}/s, {requeued} rejected, {busy} workers busy"

    def _inject_faults(self, done: int, rejected: int, output: Output) -> None:
        """Kill a worker halfway, in the middle of a tile, and requeue rejected tiles."""
        if self.faults.kill is None and done >= len(self.tiles) // 2:
            kill = self.faults.kill_busy_worker()
            if kill is not None:
                number = self.tiles[kill.job].number
                output.report(f"Killed worker {kill.pid} (SIGKILL) in the middle of tile {number}")
        if rejected:
            for job_id in self.faults.requeue():
                number = self.tiles[job_id].number
                output.report(f"Tile {number} was rejected: requeued it with Admin.requeue")

    def summary(
        self,
        pickups_ms: Sequence[float],
        *,
        present: int,
        left: int,
        workers: int,
        wall_seconds: float,
        poster: Poster,
        picture: Path,
    ) -> Summary:
        """Return the figures of the demo."""
        runs = [run for run in self.journal.runs if run.job in self.tiles]
        tile_ms = durations_ms([run for run in runs if run.job not in self.faults.requeued])
        kill, again = self.faults.kill, self.faults.seconds_to_run_again()
        return Summary(
            tiles=len(self.tiles),
            tiles_present=present,
            runs=len(runs),
            left_in_queue=left,
            workers=workers,
            cores=len(os.sched_getaffinity(0)),
            wall_seconds=wall_seconds,
            drain_seconds=drain_seconds(runs),
            cpu_seconds=sum(run.cpu_seconds for run in runs),
            tile_median_ms=percentile(tile_ms, 0.5),
            tile_p95_ms=percentile(tile_ms, 0.95),
            pickup_p50_ms=percentile(pickups_ms, 0.5),
            pickup_p99_ms=percentile(pickups_ms, 0.99),
            acked=len(self.tiles) - left,
            rejected_then_requeued=len(self.faults.requeued),
            crashed_then_run_again=int(again is not None),
            killed_pid=None if kill is None else kill.pid,
            killed_tile=None if kill is None else self.tiles[kill.job].number,
            settled_after_seconds=self.faults.settled_after,
            run_again_after_seconds=again,
            width=poster.width,
            height=poster.height,
            picture=picture,
        )
