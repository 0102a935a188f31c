"""A role that may use a schema that exists, and create nothing."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from taskmaster import Admin, Consumer, InvalidConfig, Publisher, State
from taskmaster.store import migrate
from taskmaster.store.connection import Connection, connect, connect_user
from taskmaster.store.faults import describe_fault
from tests.support import Journal, Server, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.store import SCHEMA

GRANTS = (
    "grant usage on schema {schema} to {role}",
    "grant select, insert, update, delete on all tables in schema {schema} to {role}",
    "grant usage, select, update on all sequences in schema {schema} to {role}",
)


@pytest.fixture
def role_url(server: Server, database_url: str, conn: Connection) -> Iterator[str]:
    """Return the database's URL for a role that has GRANTS only."""
    name = f"{server.prefix}_works_only"
    names = {"role": sql.Identifier(name), "schema": sql.Identifier(SCHEMA)}
    for statement in ("create role {role}", *GRANTS):
        conn.execute(sql.SQL(statement).format(**names))
    try:
        database = str(conninfo_to_dict(database_url)["dbname"])
        yield server.url_of(database, options=f"-c role={name}")
    finally:
        for statement in ("drop owned by {role}", "drop role {role}"):
            conn.execute(sql.SQL(statement).format(**names))


def test_a_role_without_create_has_nothing_to_migrate(role_url: str) -> None:
    with connect(role_url, SCHEMA) as conn:
        allowed = conn.execute(
            "select has_database_privilege(current_database(), 'create')"
        ).fetchone()
        assert allowed == (False,)
        assert migrate.migrate(conn, SCHEMA) == []
        migrate.check(conn, SCHEMA)


def test_a_role_without_create_can_put_run_and_inspect(
    role_url: str, supervise: Supervise, journal: Journal
) -> None:
    with Publisher(role_url) as publisher, Admin(role_url) as admin:
        ids = [
            publisher.put("q", {"do": "reject"}),
            *publisher.put_many("q", [{}] * 3),
            publisher.put("q", delay=0.01),
        ]
        with supervise(Consumer("q", callback=ACT, concurrency=2), url=role_url):
            eventually(
                lambda: [(job.id, job.state) for job in admin.find()] == [(ids[0], State.REJECTED)]
            )
    assert sorted(journal.finished()) == ids


def test_row_level_security_hides_no_job_silently(role_url: str, conn: Connection) -> None:
    conn.execute("alter table ready enable row level security")
    with (
        connect(role_url, SCHEMA) as own,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security") as why,
    ):
        own.execute("select from ready")
    assert "bypasses it" in describe_fault(why.value, SCHEMA)
    with pytest.raises(InvalidConfig, match="row level security would hide jobs"):
        connect_user(role_url, SCHEMA)
    conn.execute("alter table ready disable row level security")
    connect_user(role_url, SCHEMA).close()
