"""The reference lists every key of the configuration, with its default and its bounds."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

from taskmaster import Consumer, InvalidConfig, SupervisorOptions
from taskmaster.config import TOP_LEVEL, Settings
from tests.support.markdown import ROOT, names, table_rows

PAGE = ROOT / "docs" / "reference" / "configuration.md"
BOUNDS = re.compile(r"(-?\d+) to (-?\d+)\b(?! characters| bytes)")
SECTIONS = ["What runs", "When a job fails", "What a job may use", "The worker processes"]


def documented(*headings: str) -> dict[str, list[str]]:
    """Return default and bounds of the keys in the tables below these headings."""
    rows = [row for heading in headings for row in table_rows(PAGE, heading)]
    assert len({row[0] for row in rows}) == len(rows)
    return {names(row[0])[0]: row[1:3] for row in rows}


def default_of(cell: str) -> Any:
    if cell in ("none", "required"):
        return None if cell == "none" else MISSING
    return tomllib.loads(f"value = {names(cell)[0]}")["value"]


def agree(written: Any, default: Any) -> bool:
    return bool((list(default) if isinstance(default, tuple) else default) == written)


@pytest.mark.parametrize(
    ("kind", "headings"),
    [
        (Consumer, [f"### {section}" for section in SECTIONS]),
        (SupervisorOptions, ["## `[supervisor]` { #supervisor }"]),
    ],
)
def test_reference_lists_every_key_with_its_default(kind: type, headings: list[str]) -> None:
    page = documented(*headings)
    code = {one.name: one.default for one in fields(kind) if one.name != "_"}
    assert set(page) == set(code)
    written = {key: default_of(cells[0]) for key, cells in page.items()}
    assert {
        key: (written[key], code[key]) for key in code if not agree(written[key], code[key])
    } == {}


def test_reference_lists_every_key_of_the_top_level() -> None:
    page, settings = documented("## Top level"), Settings()
    assert set(page) == set(TOP_LEVEL)
    for key in ("database_url", "schema", "max_payload_bytes"):
        assert default_of(page[key][0]) == getattr(settings, key)


def consumer(**options: Any) -> Consumer:
    return Consumer("q", callback="jobs:act", **options)


@pytest.mark.parametrize(
    ("make", "headings"),
    [
        (consumer, [f"### {section}" for section in SECTIONS]),
        (SupervisorOptions, ["## `[supervisor]` { #supervisor }"]),
    ],
)
def test_bounds_in_the_reference_are_enforced(
    make: Callable[..., object], headings: list[str]
) -> None:
    page = documented(*headings)
    bounds = {key: found for key, (_, cell) in page.items() if (found := BOUNDS.match(cell))}
    assert bounds
    for key, found in bounds.items():
        low, high = (int(bound) for bound in found.groups())
        make(**{key: low})
        make(**{key: high})
        for value in (low - 1, high + 1):
            with pytest.raises(InvalidConfig, match=key):
                make(**{key: value})
