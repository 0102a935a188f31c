"""The environment variables that name the database, for the commands and for the API.

White space at their ends is ignored, because a secret that was read from a file often ends with a
line break.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taskmaster.errors import InvalidConfig
from taskmaster.validation import check_schema

DATABASE_URL = "TASKMASTER_DATABASE_URL"
SCHEMA = "TASKMASTER_SCHEMA"
# A parameter of the embedded server's URL. No connection uses its value.
EMBEDDED_MARK = "fallback_application_name=taskmaster-embedded"

_scrubbing = threading.Lock()


def url_from_environment() -> str | None:
    """Return the URL, or None if it is unset. An empty variable is unset, as in a compose file."""
    return os.environ.get(DATABASE_URL, "").strip() or None


def schema_from_environment() -> str | None:
    """Return the schema, or None if it is unset or empty. Raises InvalidConfig."""
    schema = os.environ.get(SCHEMA, "").strip()
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
    """Hide libpq's variables from a connection to an embedded server: they mean another database.

    Connections to other servers use them, as every client of libpq does.
    """
    if not is_embedded(database_url):
        yield
        return
    with _scrubbing:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        try:
            yield
        finally:
            os.environ.update(hidden)
