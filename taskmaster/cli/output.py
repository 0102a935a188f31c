"""What the commands print: tables for people, JSON for programs. What comes from jobs is shown, never obeyed."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskmaster.job import JobRecord

MAX_CELL = 60
DEEPEST = 10_000  # Python reads JSON a little deeper than it writes it
C1_CONTROLS = re.compile("[\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` with control characters escaped: a job's data must not steer the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def print_json(value: Any) -> None:
    """One document on stdout."""
    text = pretty(value)
    # orjson leaves DEL and the C1 controls as they are; inside of strings JSON may write them escaped.
    print(C1_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or the sentence `empty` when there is nothing to show. Numbers stand on the right."""
    found = [list(row) for row in rows]
    if not found:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        numeric = all(isinstance(row[number], int | float) for row in found)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in found:
        table.add_row(
            *(Text(printable(str(cell))) for cell in row)
        )  # Text: a name like [red] is no markup
    # Programs and tests read what was printed into a pipe: no line is cut to the width of a terminal that is not there.
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)


def pretty(value: Any, *, indent: bool = True) -> str:
    """JSON; by the standard library where SQL has put what orjson does not write (1e999, integers of 100 digits)."""
    try:
        return orjson.dumps(
            value, option=orjson.OPT_INDENT_2 if indent else None, default=str
        ).decode()
    except TypeError:
        sys.setrecursionlimit(DEEPEST)
        return json.dumps(value, indent=2 if indent else None, default=str)


def short_json(value: Any) -> str:
    """JSON on one line, cut to the width of a cell."""
    text = pretty(value, indent=False)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def record_json(record: JobRecord) -> dict[str, Any]:
    """A job as `--json` shows it: the columns of the view `taskmaster.jobs`."""
    columns = {name: getattr(record, name) for name in record.__struct_fields__}
    return columns | {"failures": msgspec.to_builtins(record.failures)}


def duration(seconds: float) -> str:
    """`0.3 s`, `12 s`, `5 min`, `3 h`, `4 d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
