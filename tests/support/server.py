"""A real Postgres for the tests, and one database on it for each running test."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from taskmaster.embedded import server
from taskmaster.store import migrate
from taskmaster.store.connection import connect
from tests.support.waiting import eventually

TEST_DATABASE_URL = "TASKMASTER_TEST_DATABASE_URL"
SCHEMA = "taskmaster"
# End every session of the database except this one.
OTHERS = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
    " and backend_type = 'client backend'"
)
SCHEMAS = (
    "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
)


class Server:
    """A server and the databases created on it.

    They are reused, because creating one takes five times as long as clearing one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"taskmaster_test_{secrets.token_hex(4)}"
        self.created = 0
        self.free: list[str] = []

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Yield the URL of a database like a fresh one, with our schema unless `empty`.

        Sessions that are still open at the end are terminated.
        """
        name = self.free.pop() if self.free else self.create()
        if not empty:
            with connect(self.url_of(name), SCHEMA) as conn:
                migrate.migrate(conn, SCHEMA)
        try:
            yield self.url_of(name)
        finally:
            self.clear(name)
            self.free.append(name)

    def create(self) -> str:
        self.created += 1
        name = f"{self.prefix}_{self.created}"
        self.execute("create database {} template template0", name)
        return name

    def clear(self, name: str) -> None:
        """End all sessions, and drop all schemas and settings."""
        self.execute("alter database {} reset all", name)
        with psycopg.connect(
            self.url_of(name), autocommit=True, options="-c lock_timeout=10s"
        ) as conn:
            eventually(lambda: not conn.execute(OTHERS).fetchall())
            for (schema,) in conn.execute(SCHEMAS).fetchall():
                conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
            conn.execute("create schema public")
            conn.execute("grant usage on schema public to public")

    def drop(self) -> None:
        """Drop all databases created here."""
        for number in range(1, self.created + 1):
            self.execute("drop database if exists {} with (force)", f"{self.prefix}_{number}")

    def execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def url_of(self, database: str, **changes: str) -> str:
        """Return the server's URL with another database and other parameters."""
        parameters = {**conninfo_to_dict(self.url), "dbname": database, **changes}
        return "postgresql:///?" + "&".join(
            f"{key}={quote(str(value), safe='/')}" for key, value in parameters.items()
        )


@contextmanager
def running_server() -> Iterator[Server]:
    """Yield the server named by TASKMASTER_TEST_DATABASE_URL, or start an embedded one."""
    if url := os.environ.get(TEST_DATABASE_URL):
        yield from _until_dropped(Server(url))
        return
    # Not pytest's tmp_path: it is closed to the account that runs the server for root.
    with tempfile.TemporaryDirectory(prefix="taskmaster-test-") as directory:
        with server(Path(directory)) as url:
            _spare_the_disk(url)
        with server(Path(directory)) as url:
            yield from _until_dropped(Server(url))


def _spare_the_disk(url: str) -> None:
    """Turn off syncing to disk. Tests kill processes and no machines, so the cache survives."""
    with psycopg.connect(url, autocommit=True) as conn:
        for name in ("fsync", "full_page_writes"):
            conn.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(name)))


def _until_dropped(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.drop()
