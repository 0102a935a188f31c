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
    others = set(re.findall(r"`(taskmaster/[\w/]+\.\w+)`", page.read_text()))
    assert [name for name in sorted(others) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_walkthrough_needs_few_files(page: Path) -> None:
    files = [file for _, file, _ in steps(page)]
    assert 0 < len(files) == len(set(files)) <= MOST_FILES
