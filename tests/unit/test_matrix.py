"""The parts of `make test-matrix` that need no test run."""

from pathlib import Path

import pytest

from tools.matrix import Result, environment, table
from tools.postgres import EMBEDDED, find_postgres
from tools.pythons import VERSIONS, find_pythons


def test_table_has_a_line_per_run_and_per_missing_python() -> None:
    results = {
        ("3.11", EMBEDDED): Result(True, "46 passed in 8 s"),
        ("3.11", "14"): Result(False, "1 failed, 45 passed in 9 s"),
    }
    assert table(results, ["3.14"]).splitlines() == [
        "Python 3.11   Postgres embedded  ok: 46 passed in 8 s",
        "Python 3.11   Postgres 14        FAILED: 1 failed, 45 passed in 9 s",
        "Python 3.14   not found",
    ]


def test_run_uses_no_database_that_the_shell_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMASTER_TEST_DATABASE_URL", "postgresql:///shell")
    assert "TASKMASTER_TEST_DATABASE_URL" not in environment({})
    named = environment({"TASKMASTER_TEST_DATABASE_URL": "postgresql:///here"})
    assert named["TASKMASTER_TEST_DATABASE_URL"] == "postgresql:///here"


def test_embedded_postgres_is_always_part_of_the_matrix() -> None:
    assert find_postgres()[0].version == EMBEDDED


def test_each_python_is_found_once_with_its_own_environment() -> None:
    found = [python.version for python in find_pythons()]
    assert found == [version for version in VERSIONS if version in found]
    assert {python.environment for python in find_pythons()} == {
        Path(__file__).parents[2] / f".venv-{version}" for version in found
    }
