"""Measure, print one table and write out/latest.json: `make bench`.

Names as arguments run only those measurements. `make bench-faults` measures what happens under
kills and stops, and writes out/faults.json.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks import (
    chains,
    cpu,
    disturbed,
    drain,
    idle,
    kills,
    pickup,
    pinned,
    progress,
    put,
    report,
    scrape,
    stops,
)
from benchmarks.environment import database, log, postgres_version

Measurement = Callable[[str], report.Figures]

MEASUREMENTS: Mapping[str, Measurement] = {
    "put": put.measure,
    "drain": drain.measure,
    "pickup": pickup.measure,
    "cpu": cpu.measure,
    "idle": idle.measure,
    "pinned": pinned.measure,
    "chains": chains.measure,
    "scrape": scrape.measure,
    "progress": progress.measure,
}
FAULTS: Mapping[str, Measurement] = {
    "kills": kills.measure,
    "disturbed": disturbed.measure,
    "stops": stops.measure,
}
ALL = {**MEASUREMENTS, **FAULTS}


def main() -> None:
    names = parse_names()
    began, load = time.monotonic(), os.getloadavg()[0]
    figures: report.Figures = {}
    with database() as url:
        about = report.about(postgres_version(url), load)
        for name in names:
            log(f"{name} …")
            figures |= ALL[name](url)
    about["seconds"] = round(time.monotonic() - began)
    report.show(figures, about)
    report.write(figures, about, file_name(names))


def file_name(names: Sequence[str]) -> str:
    """Return the name of the file to write. A partial run has a separate one."""
    return {tuple(MEASUREMENTS): "latest", tuple(FAULTS): "faults"}.get(tuple(names), "partial")


def parse_names() -> Sequence[str]:
    """Return the measurements that the command line names, in the order in which they run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"any of {', '.join(ALL)}; default: {' '.join(MEASUREMENTS)}",
    )
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"no measurement {unknown[0]!r}; there are: {', '.join(ALL)}")
    return [name for name in ALL if name in names] if names else list(MEASUREMENTS)


if __name__ == "__main__":
    main()
