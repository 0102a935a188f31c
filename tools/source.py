"""Facts about code, read from its syntax tree: functions, classes, and how values are built."""

import ast
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
VALUE_BASES = {"NamedTuple", "Struct"}
CLASS_VARIABLES = {"ClassVar", "KW_ONLY"}


class Module(NamedTuple):
    path: Path
    tree: ast.Module


class Function(NamedTuple):
    """A function or method, wherever it is defined. `lines` are those of the definition."""

    path: Path
    line: int
    name: str
    lines: int


class Class(NamedTuple):
    path: Path
    line: int
    name: str
    methods: int


class Construction(NamedTuple):
    """A call of a class with fields. A starred argument counts as all fields of the class."""

    path: Path
    line: int
    name: str
    positional: int


def functions(modules: Sequence[Module]) -> Iterator[Function]:
    """Yield all functions, nested ones too. Tests of pytest are no functions in this sense."""
    for path, tree in modules:
        for node in ast.walk(tree):
            if isinstance(node, FunctionNode) and not _is_skipped(node):
                yield Function(path, node.lineno, node.name, _lines(node))


def _is_skipped(node: FunctionNode) -> bool:
    return node.name.startswith("test_") or "overload" in map(_last_name, node.decorator_list)


def _lines(node: FunctionNode) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def classes(modules: Sequence[Module]) -> Iterator[Class]:
    """Yield all classes."""
    for path, tree in modules:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = [n for n in node.body if isinstance(n, FunctionNode)]
                counted = sum(not _is_skipped(method) for method in methods)
                yield Class(path, node.lineno, node.name, counted)


def constructions(modules: Sequence[Module]) -> Iterator[Construction]:
    """Yield the calls of dataclasses, named tuples and structs that the modules define."""
    fields = _value_classes(modules)
    packages = {part for path, _ in modules for part in path.parts[:2]}
    for path, tree in modules:
        known = fields.keys() - _names_from_elsewhere(tree, packages)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _class_name(node)) in known:
                yield Construction(path, node.lineno, name, _positional(node, fields[name]))


def _names_from_elsewhere(tree: ast.Module, packages: Set[str]) -> set[str]:
    """Return the names that a module imports from other packages."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    foreign = [node for node in imports if (node.module or "").split(".")[0] not in packages]
    return {alias.asname or alias.name for node in foreign for alias in node.names}


def _class_name(call: ast.Call) -> str:
    """Return the name of what is called, and `Job` for `Job._make(row)`."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "_make":
        return _last_name(call.func.value)
    return _last_name(call.func)


def _positional(call: ast.Call, fields: int) -> int:
    is_starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    is_made = isinstance(call.func, ast.Attribute) and call.func.attr == "_make"
    return max(len(call.args), fields) if is_starred or is_made else len(call.args)


def _value_classes(modules: Sequence[Module]) -> Mapping[str, int]:
    """Return the number of fields of each class that is built from its fields."""
    nodes = [n for _, tree in modules for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    found: dict[str, int] = {}
    for node in [*nodes, *nodes]:  # twice, for a base may come after the classes that extend it
        bases = {_last_name(base) for base in node.bases}
        is_dataclass = "dataclass" in map(_last_name, node.decorator_list)
        if is_dataclass or bases & (VALUE_BASES | found.keys()):
            found[node.name] = _own_fields(node) + sum(found.get(base, 0) for base in bases)
    return found


def _own_fields(node: ast.ClassDef) -> int:
    annotations = [n.annotation for n in node.body if isinstance(n, ast.AnnAssign)]
    return sum(_last_name(annotation) not in CLASS_VARIABLES for annotation in annotations)


def _last_name(node: ast.expr) -> str:
    """Return `c` for `a.b.c`, `a.b.c(…)` and `a.b.c[…]`."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case ast.Call():
            return _last_name(node.func)
        case ast.Subscript():
            return _last_name(node.value)
        case _:
            return ""
