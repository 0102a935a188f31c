"""A new user can do what the README, the tutorial and two how-tos say, and sees what they show."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.markdown import ROOT
from tests.support.transcript import is_shown
from tests.support.walkthrough import Walkthrough, walkthrough

pytestmark = pytest.mark.timeout(180)  # dozens of commands, one after the other

TUTORIAL = ["first-job", "failures", "middlewares", "metrics", "dashboard"]


@pytest.fixture
def reader() -> Iterator[Walkthrough]:
    # Not pytest's tmp_path: it is closed to the account that runs the server for root.
    with (
        tempfile.TemporaryDirectory(prefix="taskmaster-docs-") as directory,
        walkthrough(Path(directory)) as one,
    ):
        yield one


def test_tutorial_works_from_an_empty_directory_to_metrics(reader: Walkthrough) -> None:
    for name in TUTORIAL:
        reader.follow(ROOT / "docs" / "tutorial" / f"{name}.md")


def test_readme_works_in_an_empty_directory(reader: Walkthrough) -> None:
    reader.follow(ROOT / "README.md")


def test_tutorial_pages_are_all_followed() -> None:
    pages = (ROOT / "docs" / "tutorial").glob("*.md")
    assert {page.stem for page in pages} == {"index", *TUTORIAL}


@pytest.mark.parametrize("name", ["test-callbacks", "write-a-middleware"])
def test_how_to_with_files_and_their_tests_works(name: str, reader: Walkthrough) -> None:
    reader.follow(ROOT / "docs" / "how-to" / f"{name}.md")


@pytest.mark.parametrize(
    ("expected", "agrees"),
    [
        ("id 7\nran 0.5 s in line 6\nend\n", True),
        ("id 7\n…\nend\n", True),
        ("id 7\nran …\nend\n", True),
        ("id 8\nran 0.5 s in line 6\nend\n", False),
        ("id 7\nran 0.5 s in line 7\nend\n", False),
        ("id 7\nend\n", False),
    ],
)
def test_output_that_differs_is_noticed(expected: str, agrees: bool) -> None:
    assert is_shown("id 7\nran 0.125 s in line 6\nend\n", expected) == agrees
