"""The pages that a user reads: their fenced blocks, code spans and tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "grafana" / "prometheus" / "rules" / "taskmaster.yml"
FENCE = re.compile(
    r"^(?:<!-- (?P<marker>.*?) -->\n)?```(?P<language>\w*)[^\n]*\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"(?P<kind>file|not executed): (?P<value>\S.*)")
CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


class Block(NamedTuple):
    """One fenced block. `follows_at_once` if only empty lines are between it and the one before."""

    place: str
    language: str
    content: str
    file: str | None
    is_executed: bool
    follows_at_once: bool


def pages() -> list[Path]:
    """Return every page that a user reads."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order. Fail if a comment before one is no marker."""
    text, last_end = page.read_text(), 0
    for found in FENCE.finditer(text):
        place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start('content'))}"
        marker = MARKER.fullmatch(found["marker"]) if found["marker"] else None
        assert found["marker"] is None or marker, f"{place}: {found['marker']}"
        yield Block(
            place=place,
            language=found["language"],
            content=found["content"],
            file=marker["value"] if marker and marker["kind"] == "file" else None,
            is_executed=marker is None or marker["kind"] == "file",
            follows_at_once=not text[last_end : found.start()].strip(),
        )
        last_end = found.end()


def code_spans(page: Path) -> list[str]:
    """Return what stands between single backticks on a page, outside of its fenced blocks."""
    return CODE_SPAN.findall(FENCE.sub("", page.read_text()))


def table_rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, of rows that begin with a code span."""
    sections = re.split(r"^(?=#+ )", page.read_text(), flags=re.MULTILINE)
    found = [section for section in sections if section.startswith(f"{heading}\n")]
    assert len(found) == 1, f"{page}: {len(found)} headings {heading!r}"
    lines = [line for line in found[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def alert_rules() -> list[dict[str, Any]]:
    """Return the alerts that are shipped."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def names(cell: str) -> list[str]:
    """Return the code spans in a cell."""
    return CODE_SPAN.findall(cell)
