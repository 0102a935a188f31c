"""Classify errors of the database, and put them into one sentence. No other place looks at codes.

The codes are those of the appendix "PostgreSQL Error Codes" of Postgres' documentation.
"""

import re
from enum import Enum
from typing import Any

import psycopg

from taskmaster.errors import DatabaseUnreachable, InvalidConfig, SchemaMismatch
from taskmaster.store.urls import reason_unread


class Fault(Enum):
    """The response that an error of the database calls for."""

    LOST = "lost"  # connect again, after growing waits: another session or server may do it
    BUSY = "busy"  # try again soon: a lock, a deadlock, a serialization failure, a timeout
    SHORT = "short"  # try again after growing waits: the server has no room, no memory, no disk
    REFUSED = "refused"  # a person has to act: rights, missing objects, the wrong server
    JOB = "job"  # the data of one job cannot be written: put it on that job


# All errors that a statement of taskmaster, or a connection for it, can raise.
DATABASE_ERRORS = (psycopg.Error, DatabaseUnreachable, InvalidConfig, SchemaMismatch)

READ_ONLY = "25006"
MISSING = ("42P01", "42883", "42703", "3F000")  # table, function, column, schema
NO_RIGHT = "42501"

# By SQLSTATE, or by its class, which is its first two characters. A state goes before its class.
# All others, among them those of data and of constraints, are faults of one job.
FAULTS = {
    **dict.fromkeys(("08", "57P01", "57P02", "57P03", "57P05", "53300"), Fault.LOST),
    # Ended by a timeout of the session, or demoted to a standby.
    **dict.fromkeys(("25P03", "25P04", READ_ONLY), Fault.LOST),
    # The session no longer fits: a prepared statement or its plan is of another time.
    **dict.fromkeys(("0A000", "26000", "42P05"), Fault.LOST),
    **dict.fromkeys(("40", "55P03", "55006", "57014"), Fault.BUSY),
    **dict.fromkeys(("53", "58"), Fault.SHORT),
    **dict.fromkeys(("0L", "0P", "25", "28", "3D", "3F", "42", "55", "57", "F0"), Fault.REFUSED),
}
# How the server refuses a connection for good. libpq passes on no SQLSTATE, only the message.
REFUSED_CONNECTIONS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "is not currently accepting connections",
    "permission denied for database",
    "permission denied for schema",
    '" does not exist',
    "invalid value for parameter",
    "unrecognized configuration parameter",
    "permission denied to set parameter",
)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")  # a conninfo may hold :// too
QUESTION = "Is the server running"  # libpq adds it to "Connection refused"


def fault_of(error: Exception, conn: "psycopg.Connection[Any] | None" = None) -> Fault:
    """Return what an error calls for. `conn` is the connection on which it happened."""
    if isinstance(error, InvalidConfig | SchemaMismatch):
        return Fault.REFUSED
    if isinstance(error, DatabaseUnreachable):
        is_refused = any(text in str(error) for text in REFUSED_CONNECTIONS)
        return Fault.REFUSED if is_refused else Fault.LOST
    if conn is not None and conn.closed:
        return Fault.LOST
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None:
        is_data = isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
        return Fault.JOB if is_data else Fault.LOST
    return FAULTS.get(state) or FAULTS.get(state[:2], Fault.JOB)


def is_of_job(error: psycopg.Error, conn: "psycopg.Connection[Any]") -> bool:
    """Return whether an error may be the fault of one job, so that others are tried without it.

    It is if its data cannot be written, or if a trigger that is not ours has raised the error, with
    any code. The context of an error names the function, which is in PL/pgSQL or another language
    of this kind.
    """
    if conn.closed:
        return False
    return fault_of(error, conn) is Fault.JOB or "PL/" in (error.diag.context or "")


def is_blocked(error: psycopg.Error, conn: "psycopg.Connection[Any]") -> bool:
    """Return whether another session is in the way, so that all of the work is tried again soon."""
    return fault_of(error, conn) is Fault.BUSY and not is_of_job(error, conn)


def is_lasting(error: psycopg.Error) -> bool:
    """Return whether a statement would be refused again, so that a simpler one may be tried."""
    return fault_of(error) in (Fault.JOB, Fault.REFUSED)


def is_read_only(error: Exception) -> bool:
    """Return whether the server refuses to write, as a standby does."""
    return isinstance(error, psycopg.Error) and error.sqlstate == READ_ONLY


def is_unreachable(error: Exception) -> bool:
    """Return True if the connection failed, and False if the database refused a statement."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(("08", "57P"))
    return fault_of(error) is Fault.LOST


def one_line(error: BaseException) -> str:
    """Return the message on one line.

    The position in the statement is left out, because the statement is taskmaster's own.
    """
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = [" ".join(line.split()) for line in (primary or str(error)).splitlines()]
    told = [line for line in lines if line and not line.startswith(QUESTION)]
    return "; ".join(told).replace(":; ", ": ") or type(error).__name__


def describe_fault(error: Exception, schema: str) -> str:
    """Return the message on one line, with the way out if there is one."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state in MISSING:
        return (
            f"schema {schema!r} was dropped or renamed, or tables or functions in it were,"
            f" or this role may not use it: {one_line(error)};"
            " 'taskmaster migrate' creates a missing schema"
        )
    if state == NO_RIGHT and "row-level security" in str(error):
        return (
            f"{one_line(error)}: disable row level security on taskmaster's tables, or use a role"
            " that bypasses it"
        )
    if state == NO_RIGHT:
        return f"{one_line(error)}: grant the role that right, or use the role that migrated"
    if state == READ_ONLY:
        return (
            f"the server is read-only, as a standby is ({one_line(error)}): connect to the "
            "primary, for example with target_session_attrs=read-write in database_url"
        )
    return one_line(error)


def describe_bad_url(database_url: str, error: psycopg.Error) -> str:
    """Return what is wrong with the URL without quoting it, because it may contain a password."""
    scheme, found, _ = database_url.partition("://")
    if SCHEME.fullmatch(scheme) and found and scheme not in ("postgresql", "postgres"):
        return f"database_url must begin with postgresql://, got {scheme}://…"
    form = "" if found else "; it must begin with postgresql:// or be key=value pairs"
    return f"database_url cannot be read: {reason_unread(error)}{form}"
