"""The environment variables that name the database, for the commands and for the API.

White space at their ends is ignored, because a secret that was read from a file often ends with a
line break, and may begin with a byte order mark.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from taskmaster.errors import InvalidConfig
from taskmaster.validation import check_schema

DATABASE_URL = "TASKMASTER_DATABASE_URL"
SCHEMA = "TASKMASTER_SCHEMA"
# A parameter of the embedded server's URL. No connection uses its value.
EMBEDDED_MARK = "fallback_application_name=taskmaster-embedded"

BYTE_ORDER_MARK = "\ufeff"
HOST_ADDRESS, TARGET = "PGHOSTADDR", "PGTARGETSESSIONATTRS"
PRIMARIES = ("primary", "read-write")  # values of PGTARGETSESSIONATTRS
SETTINGS = ("PGTZ", "PGDATESTYLE", "PGGEQO", "PGSYSCONFDIR", "PGSERVICEFILE")

_scrubbing = threading.Lock()


def url_from_environment() -> str | None:
    """Return the URL, or None if it is unset. An empty variable is unset, as in a compose file."""
    return trimmed(os.environ.get(DATABASE_URL, "")) or None


def trimmed(text: str) -> str:
    """Return the text without white space and byte order marks at its ends."""
    return text.strip().strip(BYTE_ORDER_MARK).strip()


def schema_from_environment() -> str | None:
    """Return the schema, or None if it is unset or empty. Raises InvalidConfig."""
    schema = trimmed(os.environ.get(SCHEMA, ""))
    try:
        return check_schema(schema) if schema else None
    except InvalidConfig as error:
        raise InvalidConfig(f"{SCHEMA}: {error}") from None


def default_schema() -> str:
    """Return the schema to use if none is named. Raises InvalidConfig."""
    return schema_from_environment() or "taskmaster"


def is_embedded(database_url: str) -> bool:
    """Return whether the URL is that of an embedded server."""
    return EMBEDDED_MARK in database_url


@contextmanager
def libpq_environment(database_url: str) -> Iterator[None]:
    """Hide the variables of libpq that do not fit a connection to this database.

    To an embedded server, they all mean another database. Connections to other servers use them, as
    every client of libpq does, but PGHOSTADDR must not lead to another host than the URL's, nor
    PGTARGETSESSIONATTRS to a standby. Raises psycopg.ProgrammingError.
    """
    names = _misleading(database_url)
    if not names:
        yield
        return
    with _scrubbing:
        hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(hidden)


def _misleading(database_url: str) -> list[str]:
    found = _variables()
    if not found or is_embedded(database_url):
        return found
    names = [HOST_ADDRESS] if conninfo_to_dict(database_url).get("host") else []
    if os.environ.get(TARGET) not in PRIMARIES:
        names.append(TARGET)
    return [name for name in names if name in found]


def libpq_variables(database_url: str) -> list[str]:
    """Return the names of libpq's variables that a connection to this database uses."""
    known = {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    used = known.union(SETTINGS).difference(_misleading(database_url))
    return [name for name in _variables() if name in used]


def _variables() -> list[str]:
    return sorted(name for name in os.environ if name.startswith("PG"))


def wanted_server(database_url: str) -> str | None:
    """Return libpq's target_session_attrs: of several hosts the primary, unless the URL says it.

    None leaves it to the URL and to the environment. Raises psycopg.ProgrammingError.
    """
    parts = conninfo_to_dict(database_url)
    is_list = "," in str(parts.get("host") or parts.get("hostaddr") or "")
    is_told = "target_session_attrs" in parts or os.environ.get(TARGET) in PRIMARIES
    return "primary" if is_list and not is_told else None
