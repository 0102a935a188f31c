"""Output of the commands: tables for people, JSON for programs. Control characters are escaped."""

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
DEEPEST = 10_000  # Python reads JSON that is nested a little deeper than it can write
C1_CONTROLS = re.compile("[\x7f-\x9f]")


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that data cannot control the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def single_line(value: object) -> str:
    """Return the value as printable text in which line breaks are escaped too."""
    return printable(str(value)).replace("\n", "\\n")


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    # orjson does not escape DEL and the C1 controls. JSON allows to escape them inside strings.
    print(C1_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", pretty(value)))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` if there are no rows. Numbers are aligned right."""
    found = [list(row) for row in rows]
    if not found:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        numeric = all(isinstance(row[number], int | float) for row in found)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in found:
        # As Text, because a name like [red] would be taken for markup.
        table.add_row(*(Text(single_line(cell)) for cell in row))
    # Without a terminal no line is cut, because programs and tests read the output from a pipe.
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)


def pretty(value: Any, *, indent: bool = True) -> str:
    """Return the value as JSON, also if SQL has put a value that orjson does not write.

    Examples are 1e999 and integers of 100 digits.
    """
    try:
        return orjson.dumps(
            value, option=orjson.OPT_INDENT_2 if indent else None, default=str
        ).decode()
    except TypeError:
        sys.setrecursionlimit(DEEPEST)
        return json.dumps(value, indent=2 if indent else None, default=str)


def short_json(value: Any) -> str:
    """Return JSON on one line, cut to the width of a cell."""
    text = pretty(value, indent=False)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def record_json(record: JobRecord) -> dict[str, Any]:
    """Return a job as `--json` prints it: the columns of the view `taskmaster.jobs`."""
    columns = {name: getattr(record, name) for name in record.__struct_fields__}
    return columns | {"failures": msgspec.to_builtins(record.failures)}


def duration(seconds: float) -> str:
    """Return the duration like `0.3 s`, `12 s`, `5 min`, `3 h` or `4 d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
