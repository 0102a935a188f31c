"""Run a statement and read its rows by the names of their columns.

The cursors are psycopg's own kind, whatever a callback or a caller has set on the connection.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from psycopg import Cursor
from psycopg.rows import kwargs_row, scalar_row

from taskmaster.store.bounded import Connection

Row = TypeVar("Row")
Parameters = Mapping[str, Any]


def fetch_all(
    conn: Connection, make: Callable[..., Row], query: bytes, parameters: Parameters | None = None
) -> list[Row]:
    """Return what `make` makes of each row, called with its columns as keywords."""
    return Cursor(conn, row_factory=kwargs_row(make)).execute(query, parameters).fetchall()


def fetch_first(
    conn: Connection, make: Callable[..., Row], query: bytes, parameters: Parameters | None = None
) -> Row | None:
    """Return what `make` makes of the first row. None if there is no row."""
    return Cursor(conn, row_factory=kwargs_row(make)).execute(query, parameters).fetchone()


def fetch_one(
    conn: Connection, make: Callable[..., Row], query: bytes, parameters: Parameters | None = None
) -> Row:
    """Return what `make` makes of the row of a statement that always returns one."""
    row = fetch_first(conn, make, query, parameters)
    assert row is not None
    return row


def fetch_column(conn: Connection, query: bytes, parameters: Parameters | None = None) -> list[Any]:
    """Return the values of a statement with one column."""
    return Cursor(conn, row_factory=scalar_row).execute(query, parameters).fetchall()


def fetch_value(conn: Connection, query: bytes, parameters: Parameters | None = None) -> Any:
    """Return the first value of a statement with one column. None if there is no row."""
    return Cursor(conn, row_factory=scalar_row).execute(query, parameters).fetchone()
