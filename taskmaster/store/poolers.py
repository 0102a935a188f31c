"""Refuse a connection pooler that gives each transaction another session.

taskmaster sets its sessions up once: through such a pooler, its settings would reach the sessions
of other applications, and its tables the schema `public`.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from taskmaster.errors import DatabaseUnreachable, InvalidConfig

ROUNDS = 5
REPLY_SECONDS = 2.0


def refuse_transaction_pooling(
    conn: psycopg.Connection[Any], connect_again: Callable[[], psycopg.Connection[Any]]
) -> None:
    """Raise InvalidConfig if transactions of `conn` may run in different sessions.

    A pooler invents the pid of the server process that it reports, so without one both are equal
    and nothing more is done. Behind a pooler, two connections take turns: they keep their sessions
    only if each has one of its own. Nothing is changed in any session.
    """
    first = _backend(conn)
    if first == conn.info.backend_pid or _keep_their_sessions(conn, first, connect_again):
        return
    raise InvalidConfig(
        "database_url leads to a connection pooler in transaction mode, which gives each "
        "transaction another session: use the pooler in session mode, or connect to Postgres itself"
    )


def _keep_their_sessions(
    conn: psycopg.Connection[Any],
    first: int,
    connect_again: Callable[[], psycopg.Connection[Any]],
) -> bool:
    ours, theirs = {first}, set[int]()
    try:
        with connect_again() as other:
            other.patience_seconds = REPLY_SECONDS  # type: ignore[attr-defined]
            for _ in range(ROUNDS):
                theirs.add(_backend(other))
                ours.add(_backend(conn))
    except (psycopg.OperationalError, DatabaseUnreachable):
        pass  # a pooler in session mode may have no session to spare
    return len(ours) == 1 and len(theirs) <= 1 and not ours & theirs


def _backend(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])
