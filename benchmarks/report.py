"""The figures: their targets, how they are printed, and the file they are written to."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"
CPU_INFO = Path("/proc/cpuinfo")
BUSY_LOAD = 0.5

Figures = dict[str, float]
About = dict[str, str | int | float]

AT_LEAST: Mapping[str, float] = {
    "put_many_jobs_per_s": 100_000,
    "drain_to_raw": 0.5,
    "cpu_efficiency": 0.95,
    "pinned_last_to_first": 0.9,
    "chain_three_jobs_per_s": 35_000,
    "disturbed_to_undisturbed": 0.9,
}
AT_MOST: Mapping[str, float] = {
    "pickup_p50_ms": 3.0,
    "pickup_p99_ms": 12.0,
    "idle_cpu_percent": 0.5,
    "scrape_p99_ms": 50.0,
    "progress_us": 2.0,
    "idle_statements_per_s": 3.0,
    "kill_to_run_again_p99_ms": 100.0,
    "kill_to_replacement_p99_ms": 300.0,
    "stop_idle_max_ms": 300.0,
    "stop_loaded_beyond_grace_max_ms": 2000.0,
}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def target(name: str) -> str:
    """Return the target of a figure in words, or "" if it has none."""
    if name in AT_LEAST:
        return f"≥ {format_figure(AT_LEAST[name])}"
    return f"≤ {format_figure(AT_MOST[name])}" if name in AT_MOST else ""


def is_met(name: str, value: float) -> bool:
    """Return whether the figure reaches its target. One without a target does."""
    return AT_LEAST.get(name, -math.inf) <= value <= AT_MOST.get(name, math.inf)


def format_figure(value: float) -> str:
    """Return the value with three digits, or with all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def about(postgres: str, load: float) -> About:
    """Return what was measured on. `load` is the machine's load before the start."""
    return {
        "machine": cpu_name(CPU_INFO.read_text() if CPU_INFO.exists() else ""),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "postgres": postgres,
        "python": platform.python_version(),
        "load_before": load,
    }


def cpu_name(cpu_info: str) -> str:
    """Return the processor's name from /proc/cpuinfo, or the architecture if it has none."""
    lines = [line for line in cpu_info.splitlines() if line.startswith("model name")]
    return lines[0].partition(":")[2].strip() if lines else platform.machine()


def table(figures: Figures, about: About) -> Table:
    """Return the figures with their targets."""
    machine = f"{about['machine']}, {about['cores']} cores"
    software = f"Postgres {about['postgres']}, Python {about['python']}"
    title = f"taskmaster on {machine}, {software}, {about['seconds']} s"
    grid = Table("figure", title=title, title_justify="left")
    grid.add_column("measured", justify="right")
    grid.add_column("target", justify="right")
    grid.add_column("")
    for name, value in figures.items():
        grid.add_row(name, format_figure(value), target(name), verdict(name, value))
    return grid


def verdict(name: str, value: float) -> str:
    if not target(name):
        return ""
    return "[green]met" if is_met(name, value) else "[red]missed"


def show(figures: Figures, about: About) -> None:
    """Print the table, and a warning if the machine was busy before."""
    console = Console()
    console.print(table(figures, about))
    load = float(about["load_before"])
    if load > BUSY_LOAD:
        console.print(f"The machine was busy before the start (load {load:.2f}): measure again.")


def write(figures: Figures, about: About, name: str) -> None:
    """Write one flat JSON object for programs."""
    OUT.mkdir(exist_ok=True)
    content = {**about, **{key: float(f"{value:.5g}") for key, value in figures.items()}}
    (OUT / f"{name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
