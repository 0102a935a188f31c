"""The SQL statements as they are sent."""

from pathlib import Path

import pytest

import taskmaster.store
from taskmaster.store.statements import statement

SQL = Path(taskmaster.store.__file__).parent / "sql"
NAMES = [file.relative_to(SQL).with_suffix("").as_posix() for file in sorted(SQL.rglob("*.sql"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_begins_with_its_name_and_its_code(name: str) -> None:
    first, second, *_ = statement(name).decode().splitlines()
    assert first == f"-- {name}"
    assert second
    assert not second.startswith("--")


def test_the_start_of_a_claim_shows_what_it_does() -> None:
    shown = statement("leases/claim")[:1023]  # by pg_stat_activity
    assert b"delete from ready" in shown
    assert b"insert into leases" in shown
