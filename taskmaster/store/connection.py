"""Open connections whose sessions do not depend on the defaults of the role or the database."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from taskmaster.environment import libpq_environment
from taskmaster.errors import DatabaseUnreachable, InvalidConfig
from taskmaster.store.faults import describe_bad_url, one_line
from taskmaster.store.loaders import keep_json_as_bytes, register_loaders
from taskmaster.store.poolers import refuse_transaction_pooling
from taskmaster.store.statements import statement
from taskmaster.store.urls import refuse_unescaped, refused_option

CONNECT_TIMEOUT_SECONDS = 3
PATIENCE_SECONDS = 2.0  # beyond the server's own timeout
Connection = psycopg.Connection[Any]


class NoReply(psycopg.OperationalError):
    """The server did not reply in time. The statement may or may not have been executed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that does not reply.

    A server process that hangs keeps its TCP connection alive, so no network timeout ends the wait.
    """

    patience_seconds: float | None = 60.0

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        if self.patience_seconds is None:
            return super().wait(gen, *arguments, **options)
        bounded = _time_out(gen, self.patience_seconds, self.while_waiting)
        try:
            return super().wait(bounded, *arguments, **options)
        except NoReply:
            self.close()  # a late reply would be taken for the reply to another statement
            raise

    @classmethod
    def while_waiting(cls) -> None:
        """Do what must not wait for the server. Called several times a second during each wait."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        return _time_out(super()._connect_gen(conninfo), math.inf, cls.while_waiting)


def connect(
    database_url: str,
    schema: str,
    *,
    name: str = "taskmaster",
    statement_seconds: float = 60.0,
    kind: type[BoundedConnection] = BoundedConnection,
) -> Connection:
    """Open a connection in autocommit whose search path is `schema`.

    The server ends a statement after `statement_seconds`. If it has not replied a little later
    either, the connection is closed and NoReply is raised. `kind` overrides `while_waiting`.

    Raises DatabaseUnreachable with the reason in one sentence, and InvalidConfig if the URL cannot
    be read or the database is not encoded in UTF-8.
    """
    patience_seconds = statement_seconds + PATIENCE_SECONDS
    conn = _open(database_url, name, kind, patience_seconds)
    parameters = {"schema": schema, "statement_timeout": f"{statement_seconds:g}s"}
    _set_session(conn, statement("sessions/own"))
    _set_session(conn, statement("sessions/bounds"), parameters)
    register_loaders(conn)
    return conn


def connect_worker(database_url: str, schema: str, *, name: str = "taskmaster") -> Connection:
    """Open a connection that claims and settles: plans are pinned, and JSON stays bytes.

    Raises what `connect` raises.
    """
    conn = connect(database_url, schema, name=name)
    _set_session(conn, statement("sessions/pin_plans"))
    keep_json_as_bytes(conn)
    return conn


def connect_user(database_url: str, *, name: str = "taskmaster") -> Connection:
    """Open a connection that callbacks write through: its session is as its role has it.

    Raises what `connect` raises.
    """
    conn = _open(database_url, name)
    _set_session(conn, statement("sessions/user"))
    return conn


@contextmanager
def without_bound(conn: Connection) -> Iterator[None]:
    """Let statements in this block wait for the server for ever, as callbacks may want to."""
    assert isinstance(conn, BoundedConnection)
    bound, conn.patience_seconds = conn.patience_seconds, None
    try:
        yield
    finally:
        conn.patience_seconds = bound


def reset_session(conn: Connection) -> None:
    """Undo whatever a callback did to the session of a user connection. Raises psycopg.Error."""
    conn.row_factory, conn.cursor_factory = tuple_row, psycopg.Cursor
    conn.isolation_level = conn.read_only = conn.deferrable = None
    conn.autocommit = True
    both = statement("sessions/reset") + b";" + statement("sessions/user")
    conn.execute(both, prepare=False)  # in one message


def _open(
    database_url: str,
    name: str,
    kind: type[BoundedConnection] = BoundedConnection,
    patience_seconds: float = 60.0,
) -> BoundedConnection:
    try:
        refuse_unescaped(database_url)
        with libpq_environment(database_url):
            conn = _connect(database_url, name, kind)
    except psycopg.ProgrammingError as error:
        raise InvalidConfig(describe_bad_url(database_url, error)) from None
    except (psycopg.Error, OSError) as error:  # descriptors may be short
        if option := refused_option(error):
            raise InvalidConfig(
                f"cannot connect to the database: libpq does not accept the value of {option!r} "
                "in database_url or in its environment variable"
            ) from None
        raise DatabaseUnreachable(f"cannot connect to the database: {one_line(error)}") from None
    conn.patience_seconds = patience_seconds
    _refuse_other_encodings(conn)
    try:
        refuse_transaction_pooling(conn, lambda: _connect(database_url, name, BoundedConnection))
    except psycopg.Error as error:
        conn.close()
        raise DatabaseUnreachable(f"cannot use the database: {one_line(error)}") from None
    return conn


def _connect(database_url: str, name: str, kind: type[BoundedConnection]) -> BoundedConnection:
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
        tcp_user_timeout=15_000,  # ms until data that is not acknowledged is an error
    )


def _refuse_other_encodings(conn: Connection) -> None:
    """Raise InvalidConfig unless the database is encoded in UTF-8.

    Another encoding could store neither every payload nor taskmaster's own statements.
    """
    encoding = conn.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):  # a connection pooler may not report it
        conn.close()
        raise InvalidConfig(
            f"the database must be encoded in UTF-8, it is {encoding}: "
            "create one with ENCODING 'UTF8' TEMPLATE template0"
        )


def _set_session(conn: Connection, query: bytes, parameters: dict[str, Any] | None = None) -> None:
    try:
        conn.execute(query, parameters, prepare=False)
    except psycopg.Error as error:
        conn.close()
        raise DatabaseUnreachable(f"the database refused the session: {one_line(error)}") from None


def _time_out(
    gen: Generator[Any, Any, Any], seconds: float, while_waiting: Callable[[], object]
) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for, and raise NoReply after `seconds`.

    psycopg resumes the generator several times a second while it waits.
    """
    deadline = time.monotonic() + seconds
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:
                while_waiting()
                if time.monotonic() > deadline:
                    raise NoReply(f"the server has not responded within {seconds:g} s")
            state = gen.send(ready)
    except StopIteration as done:
        return done.value
