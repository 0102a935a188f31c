"""Who may know whom: imports point one way, so that a part can be read without the parts above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskmaster

PACKAGE = Path(taskmaster.__file__).parent
# What each part must not import: the parts above it.
ABOVE = {
    "store": ["processes", "cli", "demo"],
    "processes": ["cli", "demo"],
    "processes/ipc": [
        f"processes.{one}" for one in ("worker", "template", "exporter", "supervisor")
    ],
    "processes/system": [
        f"processes.{one}" for one in ("ipc", "worker", "template", "exporter", "supervisor")
    ],
    "processes/worker": ["processes.template", "processes.exporter", "processes.supervisor"],
    "processes/template": ["processes.exporter", "processes.supervisor"],
    "processes/exporter": ["processes.worker", "processes.template", "processes.supervisor"],
    "processes/supervisor": ["processes.worker", "processes.exporter"],
    "processes/supervisor/exits": ["processes.supervisor.pool"],
    "processes/supervisor/database": ["processes.supervisor.pool", "processes.supervisor.exits"],
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("part", ABOVE)
def test_imports_point_one_way(part: str) -> None:
    files = sorted(PACKAGE.joinpath(part).rglob("*.py"))
    above = tuple(f"taskmaster.{name}" for name in ABOVE[part])
    assert files
    assert [
        f"{file.name}: {name}"
        for file in files
        for name in imported(file)
        if name.startswith(above)
    ] == []
