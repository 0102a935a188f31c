"""`taskmaster demo`: real jobs, with faults, on this machine."""

import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from taskmaster.cli.common import json_option
from taskmaster.cli.output import print_json
from taskmaster.demo.output import BarOutput, LineOutput, table
from taskmaster.demo.run import Options, run
from taskmaster.demo.summary import Summary
from taskmaster.errors import InvalidConfig

PICTURE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--out",
    type=PICTURE,
    default=Path("mandelbrot.png"),
    show_default=True,
    help="File to write the picture to.",
)
@click.option(
    "--width",
    type=click.IntRange(16, 15_360),
    help="Width in pixels. Default: as much as renders in half a minute here.",
)
@click.option(
    "--tile-ms",
    type=click.FloatRange(0.1, 10_000),
    default=150,
    show_default=True,
    help="Milliseconds of work per job.",
)
@click.option("--probes", type=click.IntRange(0, 10_000), default=100, hidden=True)
@click.option("--keep", is_flag=True, help="Keep the demo's schema and the tiles.")
@json_option
def demo(
    *, out: Path, width: int | None, tile_ms: float, probes: int, keep: bool, as_json: bool
) -> None:
    """Render a poster of the Mandelbrot set with one worker per core.

    One job is rejected and requeued, and halfway a worker is killed. No tile is missing in the
    end. The demo uses a separate schema and drops it, so your own jobs are not touched. The exit
    code is 1 if a tile is missing.
    """
    if not out.absolute().parent.is_dir():
        raise InvalidConfig(f"--out: there is no directory {str(out.parent)!r}")
    options = Options(out=out, width=width, tile_seconds=tile_ms / 1000, probes=probes, keep=keep)
    console = Console(stderr=as_json, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # without a terminal, no line is cut to a width
        console.width = 240
    with BarOutput(console) if console.is_terminal else LineOutput(console) as output:
        summary = run(options, output)
    if as_json:
        print_json(figures(summary))
    else:
        console.print(table(summary))
    sys.stdout.flush()
    if not summary.is_complete:
        raise click.exceptions.Exit(1)


def figures(summary: Summary) -> dict[str, object]:
    """Return the summary for programs."""
    derived = {"complete": summary.is_complete, "cpu_efficiency": summary.cpu_efficiency}
    return {**asdict(summary), **derived, "picture": str(summary.picture)}
