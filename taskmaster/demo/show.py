"""What the demo shows while it runs: a bar on a terminal, plain lines elsewhere; and the table at its end."""

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from taskmaster.demo.summary import Summary

LINE_SECONDS = 5.0


class Show(Protocol):
    """Where the demo tells what happens."""

    def say(self, sentence: str) -> None: ...

    def progress(self, done: int, total: int, figures: str) -> None: ...


class Lines:
    """For logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def say(self, sentence: str) -> None:
        self._console.print(Text(sentence), soft_wrap=True)

    def progress(self, done: int, total: int, figures: str) -> None:
        """One line every few seconds."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + LINE_SECONDS
            self.say(f"{done} of {total} tiles, {figures}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._console.file.flush()


class Bar:
    """For a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("tiles"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,  # the cores are for the workers
        )
        self._task = self._progress.add_task("", total=None, visible=False, figures="")

    def say(self, sentence: str) -> None:
        self._progress.console.print(Text(sentence))

    def progress(self, done: int, total: int, figures: str) -> None:
        self._progress.update(
            self._task, completed=done, total=total, figures=figures, visible=True
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def table(summary: Summary) -> Table:
    """The figures for people."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, figure in rows(summary):
        grid.add_row(Text(label), Text(figure))
    return grid


def rows(s: Summary) -> list[tuple[str, str]]:
    """Label and figure of each line."""
    efficiency = f"{s.cpu_efficiency:.0%} of {min(s.cores, s.workers)} cores while draining"
    return [
        ("jobs", f"{s.tiles} tiles in {s.runs} runs, {s.jobs_per_second:.1f}/s"),
        ("wall time", f"{s.wall_seconds:.1f} s in all, {s.drain_seconds:.1f} s draining"),
        ("CPU efficiency", f"{efficiency} ({s.cpu_seconds:.1f} CPU s in callbacks)"),
        ("a tile takes", f"{s.tile_median_ms:.0f} ms (p50), {s.tile_p95_ms:.0f} ms (p95)"),
        (
            "pick-up latency",
            f"{s.pickup_p50_ms:.1f} ms (p50), {s.pickup_p99_ms:.1f} ms (p99), put to callback, idle",
        ),
        ("outcomes", outcomes(s)),
        ("killed worker", killed(s)),
        ("missing", missing(s)),
        ("picture", f"{s.picture} ({s.width} × {s.height})"),
    ]


def outcomes(s: Summary) -> str:
    return (
        f"{s.acked} acked, of these {s.rejected_then_requeued} rejected then requeued "
        f"and {s.crashed_then_run_again} crashed then run again"
    )


def killed(s: Summary) -> str:
    if s.killed_pid is None:
        return "none: no worker was met in the middle of a tile"
    back, again = seconds(s.given_back_after_seconds), seconds(s.run_again_after_seconds)
    return f"pid {s.killed_pid} in tile {s.killed_tile}: given back after {back}, run again in its turn after {again}"


def seconds(passed: float | None) -> str:
    if passed is None:
        return "… never"
    return f"{passed:.1f} s" if passed >= 1 else f"{passed * 1000:.0f} ms"


def missing(s: Summary) -> str:
    if s.complete:
        return f"nothing: {s.tiles_present} of {s.tiles} tiles"
    return (
        f"{s.tiles - s.tiles_present} of {s.tiles} tiles, {s.left_in_queue} jobs left in the queue"
    )
