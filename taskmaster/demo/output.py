"""The demo's output: a bar on a terminal, plain lines elsewhere, and a table at the end."""

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from taskmaster.demo.summary import Summary

LINE_SECONDS = 5.0


class Output(Protocol):
    """Where the demo reports what happens."""

    def report(self, sentence: str) -> None: ...

    def progress(self, done: int, total: int, figures: str) -> None: ...


class LineOutput:
    """The output for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def report(self, sentence: str) -> None:
        self._console.print(Text(sentence), soft_wrap=True)

    def progress(self, done: int, total: int, figures: str) -> None:
        """Print one line every few seconds."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + LINE_SECONDS
            self.report(f"{done} of {total} tiles, {figures}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._console.file.flush()


class BarOutput:
    """The output for a terminal."""

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

    def report(self, sentence: str) -> None:
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
    """Return the figures for people."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, figure in rows(summary):
        grid.add_row(Text(label), Text(figure))
    return grid


def rows(s: Summary) -> list[tuple[str, str]]:
    """Return label and figure of each line."""
    efficiency = f"{s.cpu_efficiency:.0%} of {min(s.cores, s.workers)} cores while draining"
    latency = f"{s.pickup_p50_ms:.1f} ms (p50), {s.pickup_p99_ms:.1f} ms (p99)"
    return [
        ("jobs", f"{s.tiles} tiles in {s.runs} runs, {s.jobs_per_second:.1f}/s"),
        ("wall time", f"{s.wall_seconds:.1f} s in all, {s.drain_seconds:.1f} s draining"),
        ("CPU efficiency", f"{efficiency} ({s.cpu_seconds:.1f} CPU s in callbacks)"),
        ("time per tile", f"{s.tile_median_ms:.0f} ms (p50), {s.tile_p95_ms:.0f} ms (p95)"),
        ("pick-up latency", f"{latency}, from put to callback in the idle system"),
        ("outcomes", outcomes_text(s)),
        ("killed worker", kill_text(s)),
        ("missing", missing_text(s)),
        ("picture", f"{s.picture} ({s.width} × {s.height})"),
    ]


def outcomes_text(s: Summary) -> str:
    return (
        f"{s.acked} acked: {s.rejected_then_requeued} of them had been rejected and requeued, "
        f"and {s.crashed_then_run_again} had crashed and run again"
    )


def kill_text(s: Summary) -> str:
    if s.killed_pid is None:
        return "none: no worker was found in the middle of a tile"
    return (
        f"pid {s.killed_pid} in tile {s.killed_tile}: "
        f"crash settled after {duration(s.settled_after_seconds)}, "
        f"run again in its turn after {duration(s.run_again_after_seconds)}"
    )


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "… never"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def missing_text(s: Summary) -> str:
    if s.is_complete:
        return f"nothing: {s.tiles_present} of {s.tiles} tiles"
    missing = s.tiles - s.tiles_present
    return f"{missing} of {s.tiles} tiles, {s.left_in_queue} jobs left in the queue"
