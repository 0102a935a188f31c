"""The functions that tests wrap exist, and are called through their module or class."""

import ast
import inspect
from pathlib import Path

import pytest

import taskmaster
from tests.support.wrapped_functions import WRAPPED_FUNCTIONS, WrappedFunction

TESTS = Path(__file__).parents[1]
FOLDERS = ("faults", "middleware", "processes", "support", "unit")
WRAPPERS = {"patch.object", "monkeypatch.setattr"}
# They change psycopg, OpenTelemetry or `sys`, or belong to the benchmarks and tools.
OTHERS = {
    "support/kill_steps.py",
    "support/wrapped_functions.py",
    "middleware/test_tracing.py",
    "processes/test_put_many.py",
    "unit/test_benchmarks_report.py",
    "unit/test_check_prose.py",
    "unit/test_code_statistics.py",
    "unit/test_python.py",
}


@pytest.mark.parametrize("function", WRAPPED_FUNCTIONS, ids=lambda function: function.name)
def test_wrapped_function_exists(function: WrappedFunction) -> None:
    assert inspect.isfunction(getattr(function.owner, function.name))


def test_store_function_is_called_through_its_module() -> None:
    names = {
        (function.owner.__name__, function.name)
        for function in WRAPPED_FUNCTIONS
        if function.owner.__name__.startswith("taskmaster.store.")
    }
    imported = {
        (node.module, alias.name)
        for path in Path(taskmaster.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names
    assert names & imported == set()


def test_no_other_test_patches_the_product() -> None:
    patching = {
        path.relative_to(TESTS).as_posix()
        for folder in FOLDERS
        for path in (TESTS / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WRAPPERS
    }
    assert patching - OTHERS == set()
