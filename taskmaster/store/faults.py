"""Put failures of the database into one sentence."""

import psycopg

from taskmaster.errors import DatabaseUnreachable

# What Postgres reports of something in the schema that is not there.
MISSING = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
CONNECTION_CLASSES = ("08", "57P")  # of SQLSTATE: connection exceptions, and a server that stops
QUESTION = "Is the server running"  # libpq adds it to "Connection refused"


def one_line(error: BaseException) -> str:
    """Return the message on one line.

    The position in the statement is left out, because the statement is taskmaster's own.
    """
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = [" ".join(line.split()) for line in (primary or str(error)).splitlines()]
    told = [line for line in lines if line and not line.startswith(QUESTION)]
    return "; ".join(told).replace(":; ", ": ") or type(error).__name__


def is_unreachable(error: Exception) -> bool:
    """Return True if the connection failed, and False if the database refused a statement."""
    if not isinstance(error, psycopg.OperationalError):
        return isinstance(error, DatabaseUnreachable)
    return error.sqlstate is None or error.sqlstate.startswith(CONNECTION_CLASSES)


def describe_fault(error: Exception, schema: str) -> str:
    """Return the message on one line, and name the schema if something in it is missing."""
    if isinstance(error, MISSING):
        return (
            f"schema {schema!r} was dropped or renamed, or tables or functions in it were: "
            f"{one_line(error)}"
        )
    return one_line(error)


def describe_bad_url(database_url: str, error: psycopg.Error) -> str:
    """Return what is wrong with the URL without quoting it, because it may contain a password."""
    scheme, found, _ = database_url.partition("://")
    if found and scheme not in ("postgresql", "postgres"):
        return f"database_url must begin with postgresql://, got {scheme}://…"
    hidden = one_line(error).replace(database_url, "…")
    reason = hidden.partition(" in ")[0] if "://" in hidden else hidden
    form = "" if found else "; it must begin with postgresql:// or be key=value pairs"
    return f"database_url cannot be read: {reason}{form}"
