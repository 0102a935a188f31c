"""The figures: against what they are held, how they are shown, and where they are written."""

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
    """The smallest value that at least this share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def target(name: str) -> str:
    """What the figure has to be, in words; empty: nothing was promised."""
    if name in AT_LEAST:
        return f"≥ {shown(AT_LEAST[name])}"
    return f"≤ {shown(AT_MOST[name])}" if name in AT_MOST else ""


def met(name: str, value: float) -> bool:
    return AT_LEAST.get(name, -math.inf) <= value <= AT_MOST.get(name, math.inf)


def shown(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def about(postgres: str, load: float) -> About:
    """Where and with what this was measured. `load`: what others did to the machine before the start."""
    return {
        "machine": cpu_name(CPU_INFO.read_text() if CPU_INFO.exists() else ""),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "postgres": postgres,
        "python": platform.python_version(),
        "load_before": load,
    }


def cpu_name(cpu_info: str) -> str:
    """The processor's name as Linux knows it, else the architecture."""
    names = [
        line.partition(":")[2].strip()
        for line in cpu_info.splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def table(figures: Figures, about: About) -> Table:
    machine = f"{about['machine']}, {about['cores']} cores, Postgres {about['postgres']}, Python {about['python']}"
    made = Table(
        "figure", title=f"taskmaster on {machine}, {about['seconds']} s", title_justify="left"
    )
    made.add_column("measured", justify="right")
    made.add_column("target", justify="right")
    made.add_column("")
    for name, value in figures.items():
        verdict = "" if not target(name) else "[green]met" if met(name, value) else "[red]missed"
        made.add_row(name, shown(value), target(name), verdict)
    return made


def show(figures: Figures, about: About) -> None:
    console = Console()
    console.print(table(figures, about))
    if float(about["load_before"]) > BUSY_LOAD:
        console.print(
            f"The machine was busy before the start (load {about['load_before']:.2f}): measure again."
        )


def write(figures: Figures, about: About, name: str) -> None:
    """One flat object, for programs."""
    OUT.mkdir(exist_ok=True)
    content = {**about, **{key: float(f"{value:.5g}") for key, value in figures.items()}}
    (OUT / f"{name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
