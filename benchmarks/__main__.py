"""`make bench`: measure, print one table, write out/latest.json. Names as arguments run only those measurements."""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks import cpu, drain, idle, pickup, pinned, put, report
from benchmarks.place import database, postgres_version, say

Measurement = Callable[[str], report.Figures]

MEASUREMENTS: Mapping[str, Measurement] = {
    "put": put.measure,
    "drain": drain.measure,
    "pickup": pickup.measure,
    "cpu": cpu.measure,
    "idle": idle.measure,
    "pinned": pinned.measure,
}


def main() -> None:
    names = chosen()
    began, load = time.monotonic(), os.getloadavg()[0]
    figures: report.Figures = {}
    with database() as url:
        about = report.about(postgres_version(url), load)
        for name in names:
            say(f"{name} …")
            figures |= MEASUREMENTS[name](url)
    about["seconds"] = round(time.monotonic() - began)
    report.show(figures, about)
    # A part is not the whole: it goes into a file of its own.
    report.write(figures, about, "latest" if len(names) == len(MEASUREMENTS) else "partial")


def chosen() -> Sequence[str]:
    """The measurements asked for, in the order in which they are made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(MEASUREMENTS)}; default: all")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"there is no measurement {unknown[0]!r}; there are: {', '.join(MEASUREMENTS)}")
    return [name for name in MEASUREMENTS if name in names or not names]


if __name__ == "__main__":
    main()
