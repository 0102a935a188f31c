"""The command `taskmaster demo`: watch a complete system work."""

import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from taskmaster.cli.common import json_option
from taskmaster.cli.output import print_json
from taskmaster.demo.show import Bar, Lines, table
from taskmaster.demo.story import Options, tell
from taskmaster.demo.summary import Summary
from taskmaster.errors import InvalidConfig

PICTURE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--out",
    type=PICTURE,
    default=Path("mandelbrot.png"),
    show_default=True,
    help="The file of the picture.",
)
@click.option(
    "--width",
    type=click.IntRange(16, 15_360),
    help="Pixels. Default: about half a minute of work on this machine.",
)
@click.option(
    "--tile-ms",
    type=click.FloatRange(0.1, 10_000),
    default=150,
    show_default=True,
    help="Work of one job.",
)
@click.option("--probes", type=click.IntRange(0, 10_000), default=100, hidden=True)
@click.option("--keep", is_flag=True, help="Keep the demo's schema and the tiles.")
@json_option
def demo(
    *, out: Path, width: int | None, tile_ms: float, probes: int, keep: bool, as_json: bool
) -> None:
    """Render a poster of the Mandelbrot set in jobs, one worker per core.

    Halfway a worker is killed, and one job is rejected and put back; in the end nothing is missing.
    Your own jobs are not touched, because the demo has a schema of its own, which it drops. The
    exit code is 1 if something is missing.
    """
    if not out.absolute().parent.is_dir():
        raise InvalidConfig(f"--out: there is no directory {str(out.parent)!r}")
    options = Options(out=out, width=width, tile_seconds=tile_ms / 1000, probes=probes, keep=keep)
    console = Console(stderr=as_json, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # do not cut lines to the width of a terminal
        console.width = 240
    with Bar(console) if console.is_terminal else Lines(console) as shown:
        summary = tell(options, shown)
    if as_json:
        print_json(summary_json(summary))
    else:
        console.print(table(summary))
    sys.stdout.flush()
    if not summary.complete:
        raise click.exceptions.Exit(1)


def summary_json(summary: Summary) -> dict[str, object]:
    """Return the summary for programs."""
    derived = {"complete": summary.complete, "cpu_efficiency": summary.cpu_efficiency}
    return {**asdict(summary), **derived, "picture": str(summary.picture)}
