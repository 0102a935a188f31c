"""The kinds of sessions, none of which depends on the defaults of the role or the database."""

import psycopg
from psycopg.rows import tuple_row

from taskmaster.errors import InvalidConfig
from taskmaster.store.bounded import BoundedConnection, Connection
from taskmaster.store.loaders import register_loaders, use_fast_loaders
from taskmaster.store.opening import Opening
from taskmaster.store.rows import fetch_value
from taskmaster.store.statements import statement

PATIENCE_SECONDS = 2.0  # beyond the server's own timeout
IDLE_TIMEOUTS = ("idle_session_timeout", "transaction_timeout")
TIMEOUTS = (*IDLE_TIMEOUTS, "statement_timeout")

__all__ = ["Connection", "connect", "connect_user", "connect_worker", "reset_session"]


def connect(
    database_url: str,
    schema: str,
    *,
    name: str = "taskmaster",
    statement_seconds: float = 60.0,
    kind: type[BoundedConnection] = BoundedConnection,
    further: bytes = b"",
) -> Connection:
    """Open a connection in autocommit whose search path is `schema`.

    The server ends a statement after `statement_seconds`. If it has not replied a little later
    either, the connection is closed and NoReply is raised. `kind` overrides `while_waiting`.
    `further` is a statement that sets up more of the session.

    Raises DatabaseUnreachable with the reason in one sentence, and InvalidConfig if the URL cannot
    be read or the database is not encoded in UTF-8.
    """
    bounds = {"schema": schema, "statement_timeout": f"{statement_seconds:g}s"}

    def set_up(conn: Connection) -> None:
        conn.execute(statement("sessions/own") + b";" + further, prepare=False)
        conn.execute(statement("sessions/bounds"), bounds, prepare=False)

    conn = Opening(
        database_url=database_url,
        name=name,
        set_up=set_up,
        unbounded=TIMEOUTS,
        kind=kind,
        patience_seconds=statement_seconds + PATIENCE_SECONDS,
    ).open()
    register_loaders(conn)
    return conn


def connect_worker(database_url: str, schema: str, *, name: str = "taskmaster") -> Connection:
    """Open a connection that claims and settles: plans are pinned, and JSON stays bytes.

    Raises what `connect` raises.
    """
    conn = connect(database_url, schema, name=name, further=statement("sessions/pin_plans"))
    use_fast_loaders(conn)
    return conn


def connect_user(database_url: str, schema: str, *, name: str = "taskmaster") -> Connection:
    """Open a connection that callbacks write through: its session is as its role has it.

    Raises what `connect` raises, and InvalidConfig if row level security would hide jobs from it.
    """

    def set_up(conn: Connection) -> None:
        conn.execute(statement("sessions/user"), prepare=False)
        if fetch_value(conn, statement("sessions/has_row_security"), {"schema": schema}):
            raise InvalidConfig(
                f"row level security would hide jobs of schema {schema!r} from this role: disable"
                " it on taskmaster's tables, or use a role that bypasses it"
            )

    return Opening(
        database_url=database_url, name=name, set_up=set_up, unbounded=IDLE_TIMEOUTS
    ).open()


def reset_session(conn: Connection) -> None:
    """Undo whatever a callback did to the session of a user connection. Raises psycopg.Error."""
    conn.row_factory, conn.cursor_factory = tuple_row, psycopg.Cursor
    conn.isolation_level = conn.read_only = conn.deferrable = None
    conn.autocommit = True
    both = statement("sessions/reset") + b";" + statement("sessions/user")
    conn.execute(both, prepare=False)  # in one message
