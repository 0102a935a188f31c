"""Connections as taskmaster wants them, whatever the role's or the database's defaults are."""

import json
import time
from collections.abc import Generator
from typing import Any

import orjson
import psycopg
from psycopg.rows import tuple_row
from psycopg.types.json import set_json_loads

from taskmaster.errors import DatabaseUnreachable, InvalidConfig
from taskmaster.store.statements import statement

CONNECT_TIMEOUT_SECONDS = 3
PATIENCE_SECONDS = 2.0  # beyond the server's own bound
Connection = psycopg.Connection[Any]


class Unanswered(psycopg.OperationalError):
    """A statement may or may not have been done."""


class BoundedConnection(psycopg.Connection[Any]):
    """Gives a server up that does not answer: one whose process hangs keeps the connection alive."""

    patience_seconds: float = 60.0

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        try:
            return super().wait(_bounded(gen, self.patience_seconds), *arguments, **options)
        except Unanswered:
            self.close()  # what comes yet would be taken for an answer to something else
            raise


def _bounded(gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """What psycopg waits for, which it asks every now and then whether nothing has come."""
    deadline = time.monotonic() + seconds
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise Unanswered(f"the server has not answered within {seconds:g} s")
            state = gen.send(ready)
    except StopIteration as done:
        return done.value


def connect(
    database_url: str,
    schema: str,
    *,
    name: str = "taskmaster",
    statement_seconds: float = 60.0,
    hot: bool = False,
    user_session: bool = False,
) -> Connection:
    """Open a connection in autocommit whose search path is `schema`.

    The server ends a statement after `statement_seconds`; one that hangs is given up a little later, as lost.
    `hot`, for workers: plans are pinned, and JSON stays bytes. `lent`, for callbacks: as the role has it.

    Raises DatabaseUnreachable with the reason in one sentence, and InvalidConfig for a URL that is none.
    """
    conn = _opened(database_url, name, psycopg.Connection if user_session else BoundedConnection)
    try:
        if user_session:
            conn.execute(statement("sessions/user"))
            return conn
        conn.execute(
            statement("sessions/own"),
            {"schema": schema, "statement_timeout": f"{statement_seconds:g}s"},
        )
        if isinstance(conn, BoundedConnection):
            conn.patience_seconds = statement_seconds + PATIENCE_SECONDS
        if hot:
            conn.execute(statement("sessions/pin_plans"))
    except psycopg.Error as error:
        conn.close()
        raise DatabaseUnreachable(f"the database refused the session: {_one_line(error)}") from None
    set_json_loads(_as_it_is if hot else _loads, conn)
    return conn


def reset_session(conn: Connection) -> None:
    """Make a lent connection as it was, whatever a callback has done to its session. Raises psycopg.Error."""
    conn.row_factory, conn.cursor_factory = tuple_row, psycopg.Cursor
    conn.isolation_level = conn.read_only = conn.deferrable = None
    conn.autocommit = True
    conn.execute(
        statement("sessions/reset") + b";" + statement("sessions/user"), prepare=False
    )  # in one message


def _opened(database_url: str, name: str, kind: type[Connection]) -> Connection:
    try:
        return kind.connect(
            database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            client_encoding="UTF8",  # whatever PGCLIENTENCODING or the database say
            application_name=name,
            fallback_application_name=name,
            prepare_threshold=0,
            keepalives_idle=10,
            keepalives_interval=3,
            keepalives_count=3,
            tcp_user_timeout=15_000,  # what was sent into nothing is an error after so many milliseconds
        )
    except psycopg.ProgrammingError as error:
        raise InvalidConfig(_unreadable(database_url, error)) from None
    except psycopg.Error as error:
        raise DatabaseUnreachable(f"cannot connect to the database: {_one_line(error)}") from None


def _unreadable(database_url: str, error: psycopg.Error) -> str:
    """Neither the URL nor libpq's own sentence, which quotes it: there may be a password in it."""
    scheme, found, _ = database_url.partition("://")
    if found and scheme not in ("postgresql", "postgres"):
        return f"database_url must begin with postgresql://, got {scheme}://…"
    hidden = _one_line(error).replace(database_url, "…")
    return (
        f"database_url cannot be read: {hidden.partition(' in ')[0] if '://' in hidden else hidden}"
    )


def _as_it_is(data: str | bytes) -> str | bytes:
    return data


def _loads(data: str | bytes) -> Any:
    """JSON as orjson reads it; as the standard library does when SQL has put what orjson refuses (1e999, \\ud800)."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _loads_leniently(data)


def _loads_leniently(data: str | bytes) -> Any:
    try:
        return json.loads(data)
    except (
        RecursionError,
        ValueError,
    ):  # nested deeper than Python goes, or a number too long: shown as it is written
        return data if isinstance(data, str) else data.decode()


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
