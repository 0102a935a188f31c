"""The pages that follow one event through the code name files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.markdown import ROOT

PAGES = [ROOT / "docs" / "explanation" / name for name in ("killed-worker.md", "shutdown.md")]
MOST_FILES = 12
STEP = re.compile(r"^\| (\d+) \| `([^`]+)` \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)


def steps(page: Path) -> list[tuple[int, Path, list[str]]]:
    """Return number, file and functions of each step."""
    return [
        (int(number), ROOT / file, re.findall(r"`(\w+)`", functions))
        for number, file, functions in STEP.findall(page.read_text())
    ]


def files_named(page: Path) -> set[str]:
    """Return the files that a page names, in its table or elsewhere."""
    return set(re.findall(r"`(taskmaster/[\w/]+\.\w+)`", page.read_text()))


def functions_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_walkthrough_names_files_and_functions_that_exist(page: Path) -> None:
    found = steps(page)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    for _, file, functions in found:
        assert functions
        assert set(functions) <= functions_in(file), file.name
    assert [file for file in sorted(files_named(page)) if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_walkthrough_needs_few_files(page: Path) -> None:
    assert len(steps(page)) <= len(files_named(page)) <= MOST_FILES
