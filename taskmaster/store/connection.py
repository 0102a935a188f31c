"""Connections as taskmaster wants them, whatever the role's or the database's defaults are."""

from typing import Any

import orjson
import psycopg
from psycopg.types.json import set_json_loads

from taskmaster.errors import DatabaseUnreachable
from taskmaster.store.statements import statement

CONNECT_TIMEOUT_SECONDS = 3
Connection = psycopg.Connection[Any]


def connect(
    database_url: str, schema: str, *, name: str = "taskmaster", statement_timeout: str = "60s", pinned: bool = False
) -> Connection:
    """Open a connection in autocommit whose search path is `schema`; `pinned` for the hot statements' plans.

    Raises DatabaseUnreachable with the reason in one sentence.
    """
    try:
        conn = psycopg.connect(
            database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name=name,
            fallback_application_name=name,
            prepare_threshold=0,
            keepalives_idle=10,
            keepalives_interval=3,
            keepalives_count=3,
        )
    except psycopg.ProgrammingError as error:
        raise DatabaseUnreachable(f"database_url cannot be read: {_one_line(error)}") from None
    except psycopg.Error as error:
        raise DatabaseUnreachable(f"cannot connect to the database: {_one_line(error)}") from None
    try:
        conn.execute(statement("session"), {"schema": schema, "statement_timeout": statement_timeout})
        if pinned:
            conn.execute(statement("pin_plans"))
    except psycopg.Error as error:
        conn.close()
        raise DatabaseUnreachable(f"the database refused the session: {_one_line(error)}") from None
    set_json_loads(orjson.loads, conn)
    return conn


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
