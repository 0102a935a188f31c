"""Imports point one way, so that a part can be read without the parts above it (DESIGN §12)."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import taskmaster

PACKAGE = Path(taskmaster.__file__).parent
# The modules at the top that are data or rules about data: they know neither SQL nor processes.
DATA = [
    "backoff", "chain", "config", "consumer", "environment", "errors", "failure", "imports", "job",
    "import_path", "options", "plugins", "settlement", "validation", "version",
]  # fmt: skip
FACES = ["admin", "publisher", "supervisor", "testing"]
COMMANDS = ["cli", "demo"]
LATER = ["web", "tui", "integrations"]
PROCESSES = [
    f"processes.{name}" for name in ("supervisor", "template", "worker", "exporter", "maintenance")
]
# What each part must not import.
DOORS = {
    **{part: ["store", "processes", *FACES, *COMMANDS, *LATER] for part in DATA},
    "embedded": ["store", "processes", "config", "consumer", *FACES, *COMMANDS, *LATER],
    "store": ["processes", "config", *FACES, *COMMANDS, *LATER],
    **{part: ["processes", *COMMANDS, *LATER] for part in ("admin", "publisher")},
    "processes": [*COMMANDS, *LATER],
    "processes/ipc": PROCESSES,
    "processes/system": PROCESSES,
    "processes/template": ["processes.supervisor"],
    "processes/worker": ["processes.supervisor"],
    "processes/exporter": ["processes.supervisor"],
    "processes/maintenance": ["processes.supervisor"],
    "processes/supervisor/exits": ["processes.supervisor.pool"],
    "processes/supervisor/database": ["processes.supervisor.pool"],
    "demo": ["cli", *LATER],
    # These use Admin and Publisher, as a user's program does.
    **{part: ["store", "processes", *COMMANDS] for part in LATER},
}
PLANNED = {"processes/maintenance", *LATER}


def files(part: str) -> list[Path]:
    """Return the files of a folder or module."""
    return sorted([*PACKAGE.glob(f"{part}.py"), *PACKAGE.joinpath(part).rglob("*.py")])


def name(file: Path) -> str:
    """Return the dotted name of a module."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports(file: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, but not for type checkers alone."""
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    for node in waiting:
        match node:
            case ast.If() if ast.unparse(node.test).endswith("TYPE_CHECKING"):
                waiting += node.orelse
                continue
            case ast.ImportFrom():
                assert not node.level, f"{file}: import by the full name"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            case ast.Import():
                yield from (alias.name for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@cache
def graph() -> dict[str, set[str]]:
    """Return which modules of the package each of them imports."""
    modules = {name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
    return {
        module: {
            found if found in modules else found.rpartition(".")[0]
            for found in imports(file)
            if is_in(found, PACKAGE.name)
        }
        for module, file in modules.items()
    }


@pytest.mark.parametrize("part", DOORS)
def test_part_imports_nothing_from_above(part: str) -> None:
    above = [f"{PACKAGE.name}.{package}" for package in DOORS[part]]
    assert [
        f"{module} imports {found}"
        for module in map(name, files(part))
        for found in sorted(graph()[module])
        if any(is_in(found, package) for package in above)
    ] == []


def test_no_module_imports_itself_through_others() -> None:
    cycle: list[str] = []
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert not cycle, " imports ".join(cycle)


def test_package_never_imports_the_shipped_middlewares() -> None:
    assert [
        f"{name(file)} imports {found}"
        for file in PACKAGE.rglob("*.py")
        for found in imports(file)
        if is_in(found, "taskmaster_middleware")
    ] == []


def test_import_for_type_checkers_alone_is_no_import(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import typing\nif typing.TYPE_CHECKING:\n    from a import b\nelse:\n    from c import d\n"
        "def f():\n    from e import g\n"
    )
    assert sorted(imports(file)) == ["c.d", "e.g", "typing"]


def test_every_part_with_a_door_exists() -> None:
    assert [part for part in DOORS if part not in PLANNED and not files(part)] == []
