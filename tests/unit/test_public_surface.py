"""The public API: complete, documented by examples that run, and cheap to import."""

import ast
import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import taskmaster
import taskmaster.middleware
import taskmaster.testing

MODULES = [taskmaster, taskmaster.middleware, taskmaster.testing]
PUBLIC: dict[str, Any] = {
    name: getattr(module, name) for module in MODULES for name in module.__all__
}
DOCUMENTED = ["admin", "consumer", "job", "middleware", "options", "publisher", "testing"]
LINUX_ONLY = """
import os, resource, select, signal, sys

for module, names in {
    os: ("eventfd", "memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity"),
    resource: ("prlimit",),
    select: ("epoll",),
    signal: ("SIGRTMIN", "SIGRTMAX", "pidfd_send_signal", "sigtimedwait", "sigwaitinfo"),
}.items():
    for name in names:
        delattr(module, name)
"""


def interpret(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- complete


SPECIAL = ("__init__", "__call__", "__enter__")


def callables(thing: object) -> Iterator[Any]:
    """Yield a public function, or a public class and its public methods and properties."""
    if not isinstance(thing, type):
        if inspect.isfunction(thing):
            yield thing
        return
    yield thing
    for name, member in vars(thing).items():
        found = member.fget if isinstance(member, property) else member
        is_own = inspect.isfunction(found) and found.__module__ == thing.__module__
        if is_own and (name in SPECIAL or not name.startswith("_")):
            yield found


def classes(hint: object) -> Iterator[type]:
    """Yield the classes of taskmaster that a type hint is made of."""
    if isinstance(hint, type) and hint.__module__.split(".")[0] == "taskmaster":
        yield hint
    for argument in hint if isinstance(hint, list) else get_args(hint):
        yield from classes(argument)


def annotations(definition: ast.AST) -> Iterator[ast.AST]:
    """Yield the annotations of a function, or of a class's fields and public methods."""
    if isinstance(definition, ast.ClassDef):
        for node in definition.body:
            if isinstance(node, ast.AnnAssign):
                yield node.annotation
            elif isinstance(node, ast.FunctionDef) and (
                node.name in SPECIAL or not node.name.startswith("_")
            ):
                yield from annotations(node)
    elif isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            yield from [argument.annotation] if argument.annotation is not None else []
        yield from [definition.returns] if definition.returns is not None else []


def own_names(module: ast.Module) -> set[str]:
    """Return the names that a module imports from taskmaster or defines."""
    found: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taskmaster"):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and "TypeVar(" not in (text := ast.unparse(node.value)):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            found |= set() if "ParamSpec(" in text else names
    return found


DEFINITIONS = [name for name, thing in PUBLIC.items() if any(True for _ in callables(thing))]
# The exceptions take a message, and their `__module__` is where users import them from.
ANNOTATED = [
    name
    for name in DEFINITIONS
    if not (inspect.isclass(PUBLIC[name]) and issubclass(PUBLIC[name], Exception))
]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_classes_named_by_a_public_signature_are_public(name: str) -> None:
    exported = {id(thing) for thing in PUBLIC.values()}
    for thing in callables(PUBLIC[name]):
        for hint in get_type_hints(thing, localns=PUBLIC).values():
            assert [found for found in classes(hint) if id(found) not in exported] == []


@pytest.mark.parametrize("name", ANNOTATED)
def test_aliases_named_by_a_public_signature_are_public(name: str) -> None:
    thing = PUBLIC[name]
    module = ast.parse(Path(sys.modules[thing.__module__].__file__ or "").read_text())
    (definition,) = [node for node in module.body if getattr(node, "name", None) == name]
    parts = [part for found in annotations(definition) for part in ast.walk(found)]
    named = {part.id for part in parts if isinstance(part, ast.Name)}
    assert sorted((named & own_names(module)) - set(PUBLIC)) == []


def test_every_exception_is_named_by_its_public_module() -> None:
    errors = [thing for thing in vars(taskmaster.errors).values() if inspect.isclass(thing)]
    assert len(errors) == 12
    assert {(error.__module__, PUBLIC[error.__name__]) for error in errors} == {
        ("taskmaster", error) for error in errors
    }


@pytest.mark.parametrize("module", MODULES)
def test_listed_names_exist_and_are_listed_once(module: Any) -> None:
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'taskmaster' has no attribute 'Subervisor'"):
        _ = taskmaster.Subervisor


def test_version_is_that_of_the_distribution() -> None:
    assert taskmaster.__version__ == version("taskmaster-pg")


# -- documented


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings_are_true(name: str) -> None:
    module = import_module(f"taskmaster.{name}")
    assert ">>> " in Path(module.__file__ or "").read_text()
    assert doctest.testmod(module, extraglobs=PUBLIC).failed == 0


@pytest.mark.parametrize("name", DEFINITIONS)
def test_public_callables_have_docstrings(name: str) -> None:
    undocumented = [
        thing.__qualname__
        for thing in callables(PUBLIC[name])
        if not inspect.getdoc(thing) and not thing.__name__.startswith("__")
    ]
    assert undocumented == []


# -- cheap to import


def test_publisher_is_imported_without_the_runtime() -> None:
    loaded = interpret(
        "import sys; from taskmaster import Admin, Publisher, Job, Reject\n"
        "print(*sys.modules, sep='\\n')"
    ).splitlines()
    assert "taskmaster.publisher" in loaded
    heavy = ("taskmaster.processes", "taskmaster.cli", "setproctitle", "prometheus_client", "dill")
    assert [name for name in loaded if name.startswith(heavy)] == []


def test_publisher_is_imported_where_linux_calls_are_missing() -> None:
    code = f"{LINUX_ONLY}\nfrom taskmaster import Admin, Publisher\nPublisher().close()\nAdmin()"
    assert interpret(code) == ""
