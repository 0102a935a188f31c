"""The environment variables that name the database, for the commands and for the API."""

import os

from taskmaster.errors import InvalidConfig
from taskmaster.validation import check_schema

DATABASE_URL = "TASKMASTER_DATABASE_URL"
SCHEMA = "TASKMASTER_SCHEMA"


def url_from_environment() -> str | None:
    """Return the URL, or None if it is unset. An empty variable is unset, as in a compose file."""
    return os.environ.get(DATABASE_URL) or None


def schema_from_environment() -> str | None:
    """Return the schema, or None if it is unset or empty. Raises InvalidConfig."""
    schema = os.environ.get(SCHEMA)
    try:
        return check_schema(schema) if schema else None
    except InvalidConfig as error:
        raise InvalidConfig(f"{SCHEMA}: {error}") from None


def default_schema() -> str:
    """Return the schema to use if none is named. Raises InvalidConfig."""
    return schema_from_environment() or "taskmaster"
