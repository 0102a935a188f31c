"""The figures about names and sizes that `make statistics` prints."""

import ast
from pathlib import Path

import pytest

from tools.code_statistics import count, long_test_names, violations
from tools.participles import is_named_by_participle
from tools.source import Module, classes, constructions, functions

PATH = Path("taskmaster/example.py")
VALUES = """
from typing import NamedTuple
from elsewhere import Progress

class Point(NamedTuple):
    a: int; b: int; c: int; d: int; e: int

@dataclass(frozen=True)
class Base:
    a: int; b: int; c: int

class Extended(Base):
    kind: ClassVar[str] = ""
    d: int; e: int
"""


def module(source: str) -> Module:
    return Module(PATH, ast.parse(source))


@pytest.mark.parametrize(
    "name", ["paid", "_wrapped", "unsettled_batch", "bytes_read", "mark_started", "known"]
)
def test_participle_at_either_end_of_a_name_counts(name: str) -> None:
    assert is_named_by_participle(name)


@pytest.mark.parametrize(
    "name",
    ["pay", "_is_closed", "has_started", "on_forked", "read", "feed", "put", "seed_random", "_"],
)
def test_verb_noun_predicate_and_handler_do_not_count(name: str) -> None:
    assert not is_named_by_participle(name)


def test_special_methods_tests_and_overloads_do_not_count() -> None:
    source = (
        "def test_it(): ...\n@typing.overload\ndef get(): ...\ndef get():\n    def inner(): ..."
    )
    assert [one.name for one in functions([module(source)])] == ["get", "inner"]
    assert not is_named_by_participle("__enter_closed__")


def test_share_of_participles_is_of_all_functions() -> None:
    figures = count(list(functions([module("def known(): ...\ndef pay():\n    ...")])))
    assert figures.participle_share == 0.5
    assert (figures.short, figures.longest) == (2, 2)


def test_methods_are_counted_by_class() -> None:
    source = "class A:\n    def b(self):\n        def c(): ...\n    @property\n    def d(self): ..."
    assert [(one.name, one.methods) for one in classes([module(source)])] == [("A", 2)]


@pytest.mark.parametrize(
    ("call", "positional"),
    [
        ("Point(1, 2, 3, 4, 5)", [5]),
        ("Point(*row)", [5]),
        ("Point._make(row)", [5]),
        ("Point(1, 2, c=3, d=4, e=5)", [2]),
        ("Extended(1, *rest)", [5]),
        ("Progress(1, 2, 3, 4, 5)", []),
        ("print(1, 2, 3, 4, 5)", []),
    ],
)
def test_fields_by_position_are_counted(call: str, positional: list[int]) -> None:
    found = constructions([module(f"{VALUES}\n{call}")])
    assert [one.positional for one in found] == positional


def test_large_code_and_positional_fields_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    methods = "\n".join(f"    def m{number}(self): ..." for number in range(16))
    body = "\n".join("    pass" for _ in range(45))
    source = f"{VALUES}\nPoint(1, 2, 3, 4, 5)\nclass A:\n{methods}\ndef f():\n{body}\n{'x' * 101}"
    (tmp_path / PATH).parent.mkdir()
    (tmp_path / PATH).write_text(source)
    monkeypatch.setattr("tools.code_statistics.ROOT", tmp_path)
    monkeypatch.setattr("tools.code_statistics.files", lambda paths: [])

    assert [line.partition(": ")[2] for line in violations([module(source)])] == [
        "A has 16 methods",
        "f has 46 lines",
        "Point is built from 5 fields by position: name them",
        "101 columns: at most 100",
    ]


def test_test_name_of_more_than_60_characters_is_reported() -> None:
    short, long = f"test_{'x' * 55}", f"test_{'x' * 56}"
    source = f"def {short}(): ...\nclass A:\n    def {long}(self): ...\ndef {long[1:]}(): ..."
    assert list(long_test_names([module(source)])) == [f"{PATH}:3: {long} has 61 characters"]
