"""Numbered migrations, applied in order under an advisory lock and recorded."""

import zlib
from importlib.resources import files

import psycopg
from psycopg import sql

from taskmaster.errors import SchemaMismatch
from taskmaster.store.connection import Connection

WAY_OUT = "run 'taskmaster migrate'"


def available() -> list[tuple[int, str, bytes]]:
    """Version, name and SQL of each migration in this package, in order."""
    found = [
        file
        for file in files("taskmaster.store").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted((int(file.name[:4]), file.name[5:-4], file.read_bytes()) for file in found)


def migrate(conn: Connection, schema: str) -> list[str]:
    """Bring `schema` to this code's version; the names of what was applied. Safe to call from many processes at once.

    Raises SchemaMismatch when the database is newer than the code, or the role may not create the schema.
    """
    if (
        version(conn) == available()[-1][0]
    ):  # nothing to do, so no lock, and no right to create anything is needed
        return []
    try:
        with conn.transaction():
            conn.execute(
                "select pg_advisory_xact_lock(%s, %s)",
                (0x7A5C, zlib.crc32(schema.encode()) - 2**31),
            )
            conn.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            conn.execute(
                "create table if not exists migrations (version int primary key, name text not null,"
                " applied_at timestamptz not null default clock_timestamp())"
            )
            return _apply_missing(conn, schema)
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaMismatch(
            f"schema {schema!r} cannot be created or changed by this role: {error.diag.message_primary};"
            " migrate as a role that may create schemas in this database"
        ) from None


def check(conn: Connection, schema: str) -> None:
    """Raise SchemaMismatch when the schema is missing, older than this code, or newer."""
    current = version(conn)
    newest = available()[-1][0]
    if current is None:
        raise SchemaMismatch(
            f"the database has no schema {schema!r} with taskmaster's tables: {WAY_OUT}"
        )
    if current < newest:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {current}, this code needs {newest}: {WAY_OUT}"
        )
    _refuse_newer(current, newest, schema)


def version(conn: Connection) -> int | None:
    """The version of the schema on the connection's search path; None when there is none."""
    row = conn.execute("select to_regclass('migrations') is not null").fetchone()
    if not row or not row[0]:
        return None
    found = conn.execute("select max(version) from migrations").fetchone()
    return found[0] if found else None


def _apply_missing(conn: Connection, schema: str) -> list[str]:
    current = version(conn) or 0
    migrations = available()
    _refuse_newer(current, migrations[-1][0], schema)
    missing = [migration for migration in migrations if migration[0] > current]
    for number, name, text in missing:
        conn.execute(text, prepare=False)
        conn.execute("insert into migrations (version, name) values (%s, %s)", (number, name))
    return [name for _, name, _ in missing]


def _refuse_newer(current: int, newest: int, schema: str) -> None:
    if current > newest:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {current}, newer than this code knows ({newest}): upgrade taskmaster-pg"
        )
