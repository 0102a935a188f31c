"""The schema is created once, by the first process that needs it, and never by older code."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from taskmaster import Admin, Publisher, SchemaMismatch, State
from taskmaster.settlement import Settlement
from taskmaster.store import leases, migrate
from taskmaster.store.connection import Connection, connect
from tests.support import Server
from tests.support.store import claimed, put

NAMES = ['with "quotes"', "it's", "🦀 ünïcödé", "with spaces; drop", "%s {x}", "Upper"]


def tables(conn: Connection, schema: str) -> set[str]:
    found = conn.execute(
        "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'r'",
        [sql.Identifier(schema).as_string()],
    )
    return {row[0] for row in found.fetchall()}


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    with connect(empty_database_url, "taskmaster") as conn:
        assert migrate.migrate(conn, "taskmaster") == [
            migration.name for migration in migrate.all_migrations()
        ]
        assert migrate.migrate(conn, "taskmaster") == []
        migrate.check(conn, "taskmaster")
        assert migrate.version(conn) == migrate.all_migrations()[-1].version


def test_eight_processes_at_once_create_the_schema_once(empty_database_url: str) -> None:
    def first_put(n: int) -> int:
        with Publisher(empty_database_url) as publisher:
            return publisher.put("q", n)

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(first_put, range(8)))
    assert sorted(ids) == list(range(1, 9))
    with connect(empty_database_url, "taskmaster") as conn:
        assert conn.execute("select count(*) from migrations").fetchone() == (
            len(migrate.all_migrations()),
        )


def test_older_code_refuses_a_newer_schema(conn: Connection, database_url: str) -> None:
    conn.execute("insert into migrations (version, name) values (9999, 'of the future')")
    for call in (lambda: Publisher(database_url).put("q"), lambda: Admin(database_url).find()):
        with pytest.raises(SchemaMismatch, match="at version 9999, newer than this code knows"):
            call()


def test_a_missing_schema_is_reported_with_advice(empty_database_url: str) -> None:
    with pytest.raises(
        SchemaMismatch, match=r"has no schema 'taskmaster'.*run 'taskmaster migrate'"
    ):
        Admin(empty_database_url).find()


def test_a_role_without_create_gets_one_sentence(empty_database_url: str, server: Server) -> None:
    role = sql.Identifier(f"{server.prefix}_guest")
    with connect(empty_database_url, "taskmaster") as conn:
        conn.execute(sql.SQL("create role {}").format(role))
        try:
            conn.execute(sql.SQL("set role {}").format(role))
            with pytest.raises(
                SchemaMismatch, match="'taskmaster' cannot be created or changed by this role"
            ) as caught:
                migrate.migrate(conn, "taskmaster")
            assert "\n" not in str(caught.value)
        finally:
            conn.execute("reset role")
            conn.execute(sql.SQL("drop role {}").format(role))


@pytest.mark.parametrize("schema", NAMES)
def test_any_schema_name_works_and_is_never_injected(empty_database_url: str, schema: str) -> None:
    with (
        Publisher(empty_database_url, schema=schema) as publisher,
        Admin(empty_database_url, schema=schema) as admin,
    ):
        ids = [
            publisher.put("q", 1),
            *publisher.put_many("q", [2]),
            *publisher.put_many("q", [3], delay=60),
        ]
        assert [record.id for record in admin.find()] == ids
        with psycopg.connect(empty_database_url) as own:
            later = publisher.put("q", 4, connection=own)
            publisher.put_many("q", [5], connection=own)
        assert admin.get(later).state == State.READY
    with connect(empty_database_url, schema) as conn:
        assert {"ready", "scheduled", "leases", "rejected"} <= tables(conn, schema)
        lease = claimed(conn, batch=1)
        assert leases.settle(conn, lease.token, [Settlement(ids[0], State.REJECTED, charged=True)])
        assert conn.execute("select requeue(%s)", (ids[0],)).fetchone() == (True,)


def test_two_schemas_in_one_database_are_separate(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    publisher.put("q", "here")
    with (
        Publisher(database_url, schema="other") as other,
        Admin(database_url, schema="other") as there,
    ):
        other.put("q", "there")
        assert [record.payload for record in there.find()] == ["there"]
        assert there.delete_queue("q") == 1
    assert [record.payload for record in admin.find()] == ["here"]


def test_a_failed_migration_changes_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = migrate.Migration(9999, "broken", b"create table half (); select 1 / 0")
    broken = [*migrate.all_migrations(), failing]
    monkeypatch.setattr(migrate, "all_migrations", lambda: broken)
    with connect(empty_database_url, "taskmaster") as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate.migrate(conn, "taskmaster")
        assert migrate.version(conn) is None
        monkeypatch.undo()
        assert migrate.migrate(conn, "taskmaster")


def test_defaults_of_the_database_do_not_reach_our_sessions(
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:
        name = sql.Identifier(own.info.dbname)
        own.execute(
            sql.SQL("alter database {} set default_transaction_isolation to 'serializable'").format(
                name
            )
        )
        own.execute(
            sql.SQL("alter database {} set default_transaction_read_only to on").format(name)
        )
    with connect(database_url, "taskmaster") as conn:
        assert conn.execute("show transaction_isolation").fetchone() == ("read committed",)
        assert conn.execute("show lock_timeout").fetchone() == ("10s",)
    with Publisher(database_url) as publisher:
        assert publisher.put("q")


def test_a_column_can_be_added_to_ready_later(conn: Connection) -> None:
    """If a column had the row type of one of these tables, Postgres would refuse it."""
    for table in ("ready", "scheduled", "rejected", "leases"):
        conn.execute(
            sql.SQL("alter table {} add column later int not null default 0").format(
                sql.Identifier(table)
            )
        )


def test_functions_and_views_are_applied_again_with_a_migration(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn.execute("drop view jobs; drop view running; drop function requeue", prepare=False)
    later = [*migrate.all_migrations(), migrate.Migration(9999, "later", b"select 1")]
    monkeypatch.setattr(migrate, "all_migrations", lambda: later)
    assert migrate.migrate(conn, "taskmaster") == ["later"]
    job_id = put(conn)
    assert conn.execute("select requeue(%s)", [job_id]).fetchone() == (False,)
    assert [row[0] for row in conn.execute("select id from jobs").fetchall()] == [job_id]
    assert conn.execute("select job_id from running").fetchall() == []
