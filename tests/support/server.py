"""A real Postgres for the tests, with a template database from which each test gets a clone."""

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

TEST_DATABASE_URL = "TASKMASTER_TEST_DATABASE_URL"
SCHEMA = "taskmaster"


class Server:
    """A server and the names of the databases that we make on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"taskmaster_test_{secrets.token_hex(4)}"
        self.template = f"{self.prefix}_template"
        self.made = 0

    def migrated(self) -> None:
        """Make the template. Nobody may be connected to a template, so the connection is closed at once."""
        self.execute("create database {}", self.template)
        with connect(self.url_of(self.template), SCHEMA) as conn:
            migrate.migrate(conn, SCHEMA)

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """The URL of a fresh database, dropped at the end whoever is still connected."""
        self.made += 1
        name = f"{self.prefix}_{self.made}"
        self.execute("create database {} template {}", name, "template0" if empty else self.template)
        try:
            yield self.url_of(name)
        finally:
            self.execute("drop database {} with (force)", name)

    def execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def url_of(self, database: str, **changes: str) -> str:
        """The server's URL with another database and other parameters."""
        parameters = {**conninfo_to_dict(self.url), "dbname": database, **changes}
        return "postgresql:///?" + "&".join(f"{key}={quote(str(value), safe='/')}" for key, value in parameters.items())


@contextmanager
def running_server() -> Iterator[Server]:
    """The server named by TASKMASTER_TEST_DATABASE_URL, else an embedded one of our own."""
    if url := os.environ.get(TEST_DATABASE_URL):
        yield from _with_template(Server(url))
        return
    # Not pytest's tmp_path: it is closed to the account that runs the server for root.
    with tempfile.TemporaryDirectory(prefix="taskmaster-test-") as directory:
        with server(Path(directory)) as url:
            _spare_the_disk(url)
        with server(Path(directory)) as url:
            yield from _with_template(Server(url))


def _spare_the_disk(url: str) -> None:
    """Not synced to disk: the tests kill processes, which the kernel's cache survives, and no machines."""
    with psycopg.connect(url, autocommit=True) as conn:
        for name in ("fsync", "full_page_writes"):
            conn.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(name)))


def _with_template(server: Server) -> Iterator[Server]:
    server.migrated()
    try:
        yield server
    finally:
        server.execute("drop database {} with (force)", server.template)
