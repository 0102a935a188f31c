"""Bring the schema to this code's version: numbered migrations, then the functions and the views.

Everything happens in one transaction, under an advisory lock, and each migration is recorded. All
files in `functions/` and `views/` are applied again after a migration, so a change to one of them
needs a migration too. A file begins with a `drop` if `create or replace` would refuse the change.
"""

import zlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

import psycopg
from psycopg import sql

from taskmaster.errors import SchemaMismatch
from taskmaster.store.connection import Connection

ADVICE = "run 'taskmaster migrate'"
ADVISORY_LOCK = 0x7A5C


class Migration(NamedTuple):
    """One numbered file in `migrations/`."""

    version: int
    name: str
    text: bytes


def migrate(conn: Connection, schema: str) -> list[str]:
    """Bring `schema` to this code's version and return the names of the migrations applied.

    Safe to call from many processes at once. Needs no rights if there is nothing to do. Raises
    SchemaMismatch if the schema is newer than the code, or if the role may not change it.
    """
    if version(conn) == all_migrations()[-1].version:
        return []
    try:
        with conn.transaction():
            _lock(conn, schema)
            _create_schema(conn, schema)
            return _apply_missing(conn, schema)
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaMismatch(
            f"schema {schema!r} cannot be created or changed by this role: "
            f"{error.diag.message_primary};"
            " migrate as a role that may create schemas in this database"
        ) from None


def check(conn: Connection, schema: str) -> None:
    """Raise SchemaMismatch if the schema is missing, older than this code, or newer."""
    current = version(conn)
    newest = all_migrations()[-1].version
    if current is None:
        raise SchemaMismatch(
            f"the database has no schema {schema!r} with taskmaster's tables: {ADVICE}"
        )
    if current < newest:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {current}, this code needs {newest}: {ADVICE}"
        )
    _refuse_newer(current, newest, schema)


def check_may_create(conn: Connection, schema: str) -> None:
    """Raise SchemaMismatch if this role may not create `schema`, which does not exist yet."""
    may_create, database, role = conn.execute(
        "select has_database_privilege(current_database(), 'create'), current_database(),"
        " current_user"
    ).fetchone() or (False, "", "")
    if not may_create:
        raise SchemaMismatch(
            f"schema {schema!r} does not exist yet, and role {role!r} may not create it: "
            f"grant create on database {database!r} to it, or run 'taskmaster migrate' as a role "
            "that may"
        )


def version(conn: Connection) -> int | None:
    """Return the version of the schema on the search path. None if there is no such schema."""
    row = conn.execute("select to_regclass('migrations') is not null").fetchone()
    if not row or not row[0]:
        return None
    found = conn.execute("select max(version) from migrations").fetchone()
    return found[0] if found else None


def all_migrations() -> list[Migration]:
    """Return the migrations in this package, in order."""
    return [
        Migration(int(file.name[:4]), file.name[5:-4], file.read_bytes())
        for file in _sql_files("migrations")
    ]


def repeatables() -> Iterator[bytes]:
    """Return the functions and then the views, which use functions."""
    for folder in ("functions", "views"):
        yield from (file.read_bytes() for file in _sql_files(folder))


def _sql_files(folder: str) -> list[Traversable]:
    found = files("taskmaster.store").joinpath(folder).iterdir()
    return sorted(
        (file for file in found if file.name.endswith(".sql")), key=lambda file: file.name
    )


def _lock(conn: Connection, schema: str) -> None:
    key = zlib.crc32(schema.encode()) - 2**31
    conn.execute("select pg_advisory_xact_lock(%s, %s)", (ADVISORY_LOCK, key))


def _create_schema(conn: Connection, schema: str) -> None:
    conn.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
    conn.execute(
        "create table if not exists migrations (version int primary key, name text not null,"
        " applied_at timestamptz not null default clock_timestamp())"
    )


def _apply_missing(conn: Connection, schema: str) -> list[str]:
    current = version(conn) or 0
    migrations = all_migrations()
    _refuse_newer(current, migrations[-1].version, schema)
    missing = [migration for migration in migrations if migration.version > current]
    for migration in missing:
        conn.execute(migration.text, prepare=False)
        conn.execute(
            "insert into migrations (version, name) values (%s, %s)",
            (migration.version, migration.name),
        )
    if missing:
        for text in repeatables():
            conn.execute(text, prepare=False)
    return [migration.name for migration in missing]


def _refuse_newer(current: int, newest: int, schema: str) -> None:
    if current > newest:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {current}, newer than this code knows ({newest}):"
            " upgrade taskmaster-pg"
        )
