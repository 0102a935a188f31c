"""`auto_migrate = false`: a supervisor only checks the schema, `taskmaster migrate` changes it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster.store import migrate
from taskmaster.store.connection import connect
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project
from tests.support.store import SCHEMA

NEWEST = migrate.all_migrations()[-1].version


@pytest.fixture
def here(
    tmp_path: Path, empty_database_url: str, journal: Journal, gates: Gates
) -> Iterator[Project]:
    """A project on an empty database, whose supervisor does not migrate."""
    with project(tmp_path / "project", empty_database_url, journal, gates) as one:
        one.configure({}, auto_migrate="false")
        yield one


def run(here: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "taskmaster", *arguments], cwd=here.directory, env=here.environment,
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def refusal(here: Project) -> str:
    """Start the supervisor, which must exit with 1, and return its sentence."""
    here.start(ready=False)
    assert here.wait_for_exit() == 1
    return here.log_line("taskmaster migrate")


def test_supervisor_refuses_a_missing_schema_and_creates_none(
    here: Project, empty_database_url: str
) -> None:
    assert f"has no schema '{SCHEMA}' with taskmaster's tables" in refusal(here)
    checked = run(here, "check")
    assert checked.returncode == 1
    assert "failed  database: the database has no schema" in checked.stdout
    with connect(empty_database_url, SCHEMA) as conn:
        assert migrate.version(conn) is None


def test_supervisor_refuses_an_older_schema_and_leaves_it(
    here: Project, empty_database_url: str
) -> None:
    with connect(empty_database_url, SCHEMA) as conn:
        migrate.migrate(conn, SCHEMA)
        conn.execute("delete from migrations where version = %s", (NEWEST,))
        assert f"is at version {NEWEST - 1}, this code needs {NEWEST}" in refusal(here)
        assert migrate.version(conn) == NEWEST - 1


def test_supervisor_runs_after_the_command_has_migrated(here: Project) -> None:
    assert run(here, "migrate").returncode == 0
    here.start()
    assert here.stop() == 0


def test_embedded_server_is_migrated_all_the_same(here: Project) -> None:
    del here.environment["TASKMASTER_DATABASE_URL"]
    here.start(ready=False)
    eventually(lambda: "ready: " in here.output(), within=60)  # initdb may take long
    assert run(here, "check").returncode == 0
    assert here.stop() == 0
