"""Measure names and sizes of the code: `python -m tools.code_statistics [--check] [--list]`.

--check fails if a limit is broken, --list also prints the functions named by a participle.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.check_prose import ROOT, files, find_long_lines, folder
from tools.participles import is_named_by_participle
from tools.source import Function, FunctionNode, Module, classes, constructions, functions

CODE = ("taskmaster", "middleware", "benchmarks", "tools", "grafana")
TESTS = "tests"
MAX_PARTICIPLES = 0.03
MAX_METHODS = 15
MAX_LINES = 45
MAX_POSITIONAL = 4
MAX_TEST_NAME = 60
SHORT_LINES = 15
# Built by position where a measurement forbids names: path, class and reason.
MEASURED = {("taskmaster/store/leases.py", "ClaimedJob"): "names add 0.6 µs to 5 µs per job"}


class Count(NamedTuple):
    """The functions of one folder."""

    functions: int
    participles: int
    short: int
    longest: int

    @property
    def participle_share(self) -> float:
        return self.participles / self.functions if self.functions else 0.0

    def __str__(self) -> str:
        short = self.short / self.functions if self.functions else 1.0
        return (
            f"{self.functions:9}{self.participles:9}{self.participle_share:8.1%}"
            f"{short:13.0%}{self.longest:9}"
        )


def count(found: Sequence[Function]) -> Count:
    """Return the figures of some functions."""
    return Count(
        functions=len(found),
        participles=sum(is_named_by_participle(function.name) for function in found),
        short=sum(function.lines <= SHORT_LINES for function in found),
        longest=max((function.lines for function in found), default=0),
    )


def modules(paths: Sequence[str]) -> list[Module]:
    """Return the Python files under the paths, parsed."""
    python = [path for path in files(paths) if path.suffix == ".py"]
    return [Module(path, ast.parse((ROOT / path).read_text())) for path in python]


def violations(code: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each class, function, construction and line that is too large."""
    for one in classes(code):
        if one.methods > MAX_METHODS:
            yield f"{one.path}:{one.line}: {one.name} has {one.methods} methods"
    yield from long_functions(code)
    for call in constructions(code):
        is_measured = (str(call.path), call.name) in MEASURED
        if call.positional > MAX_POSITIONAL and not is_measured:
            yield (
                f"{call.path}:{call.line}: {call.name} is built from {call.positional} fields "
                "by position: name them"
            )
    yield from _long_lines([*(path for path, _ in code), *files([TESTS])])


def long_functions(code: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each function that is too long."""
    for function in functions(code):
        if function.lines > MAX_LINES:
            yield f"{function.path}:{function.line}: {function.name} has {function.lines} lines"


def _long_lines(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        for line, message in find_long_lines((ROOT / path).read_text()):
            yield f"{path}:{line}: {message}"


def long_test_names(tests: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each test whose name has too many characters."""
    for path, tree in tests:
        nodes = [node for node in ast.walk(tree) if isinstance(node, FunctionNode)]
        for node in nodes:
            if node.name.startswith("test_") and len(node.name) > MAX_TEST_NAME:
                yield f"{path}:{node.lineno}: {node.name} has {len(node.name)} characters"


def print_table(found: Sequence[Function]) -> Count:
    """Print the figures of each folder and of all, and return the latter."""
    print("functions  by participle   ≤ 15 lines  longest")
    for name in sorted({folder(function.path) for function in found}):
        print(count([one for one in found if folder(one.path) == name]), name)
    total = count(found)
    print(total, "in all")
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the statistics and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.code_statistics", description=__doc__)
    parser.add_argument("--check", action="store_true", help="Fail if a limit is broken.")
    parser.add_argument("--list", action="store_true", help="Print the participles.")
    options = parser.parse_args(arguments)
    code = modules(CODE)
    found = list(functions(code))
    total = print_table(found)
    if options.list:
        print_participles(found)
    tests = modules([TESTS])
    broken = [*violations(code), *long_functions(tests), *long_test_names(tests)]
    if total.participle_share > MAX_PARTICIPLES:
        broken.append(f"more than {MAX_PARTICIPLES:.0%} of functions are named by a participle")
    print(*broken, f"limits broken: {len(broken)}", sep="\n")
    return 1 if options.check and broken else 0


def print_participles(found: Sequence[Function]) -> None:
    """Print the functions that should be a verb or a noun."""
    for function in found:
        if is_named_by_participle(function.name):
            print(f"{function.path}:{function.line}: {function.name}")


if __name__ == "__main__":
    sys.exit(main())
