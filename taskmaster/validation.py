"""Checks of names, numbers, delays and payloads. Each refusal is one sentence."""

import re
from typing import Any

import orjson

from taskmaster.errors import InvalidConfig, InvalidJob, InvalidPayload
from taskmaster.job import HIGHEST_PRIORITY, LOWEST_PRIORITY

MAX_QUEUE_NAME = 200
MAX_SCHEMA_BYTES = 63  # Postgres silently cuts longer names
MAX_PAYLOAD_BYTES = 1_000_000
MAX_DELAY_SECONDS = 10 * 366 * 86_400.0

# An odd number of backslashes before u0000 is an escaped NUL, an even number escaped backslashes.
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def display(value: object) -> str:
    """Return a value for a message, or only its kind if it may hold a secret, as a URL may."""
    if isinstance(value, str):
        if "://" in value or "@" in value:
            return "a URL"
        return "a text with =" if "=" in value else repr(value)
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(display, value))}]"
    return "a table" if isinstance(value, dict) else type(value).__name__


def check_queue_name(queue_name: object) -> str:
    """Return the name if a queue can have it. Raises InvalidJob."""
    if not isinstance(queue_name, str):
        raise InvalidJob(f"a queue name must be a string, got {type(queue_name).__name__}")
    if not queue_name.strip():
        raise InvalidJob("a queue name must not be empty")
    if len(queue_name) > MAX_QUEUE_NAME:
        raise InvalidJob(
            f"a queue name may have {MAX_QUEUE_NAME} characters at most, "
            f"got {len(queue_name)}: {queue_name[:20]!r}…"
        )
    if not _is_storable(queue_name):
        raise InvalidJob(f"queue name {queue_name!r} holds a character that Postgres cannot store")
    return queue_name


def check_priority(priority: object) -> int:
    """Return the priority if it is from 0 (first) to 9. Raises InvalidJob."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidJob(f"a priority must be a whole number from 0 to 9, got {display(priority)}")
    if not HIGHEST_PRIORITY <= priority <= LOWEST_PRIORITY:
        raise InvalidJob(f"a priority must be from 0 (first) to 9, got {priority}")
    return priority


def check_delay(delay: object) -> float:
    """Return the delay in seconds if it is from 0 to ten years. Raises InvalidJob."""
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise InvalidJob(f"a delay must be a number of seconds, got {display(delay)}")
    if not 0 <= delay <= MAX_DELAY_SECONDS:
        raise InvalidJob(
            f"a delay must be from 0 to {MAX_DELAY_SECONDS:.0f} seconds (ten years), got {delay}"
        )
    return float(delay)


def check_whole_number(key: str, value: object, low: int, high: int, *, otherwise: str = "") -> int:
    """Return the value of the option `key` if it is from `low` to `high`. Raises InvalidConfig.

    `otherwise` names what else the option may be.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidConfig(
            f"{key} must be a whole number from {low} to {high}{otherwise}, got {display(value)}"
        )
    return value


def check_schema(schema: object) -> str:
    """Return the schema's name if Postgres accepts it unchanged. Raises InvalidConfig."""
    if not isinstance(schema, str):
        raise InvalidConfig(f"schema must be a string, got {display(schema)}")
    if "://" in schema:
        raise InvalidConfig("schema must be a name, got a URL")
    if not 1 <= len(schema.encode(errors="surrogatepass")) <= MAX_SCHEMA_BYTES:
        raise InvalidConfig(
            f"schema must have 1 to {MAX_SCHEMA_BYTES} bytes, got {display(schema)}"
        )
    if schema.startswith("pg_"):
        raise InvalidConfig(
            f"schema must not start with 'pg_', which Postgres reserves, got {display(schema)}"
        )
    if schema == "$user":
        raise InvalidConfig(
            "schema must not be '$user', which Postgres reads as the role's own name"
        )
    if schema != schema.strip().strip("\ufeff"):
        raise InvalidConfig(f"schema must not begin or end with white space, got {schema!r}")
    if not _is_storable(schema):
        raise InvalidConfig(
            f"schema must not hold a character that Postgres cannot store, got {display(schema)}"
        )
    return schema


def _is_storable(text: str) -> bool:
    """Return True if Postgres can store the text: no NUL, no lone surrogate."""
    return "\0" not in text and not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def encode(payload: Any, *, what: str = "payload", max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """Return `payload` as JSON, encoded by orjson.

    Dates become ISO 8601 and dataclasses become objects. `what` names the payload in messages.

    Raises InvalidPayload if it is not JSON, holds a NUL character, or is larger than `max_bytes`.
    """
    try:
        encoded = orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        raise InvalidPayload(f"the {what} is not JSON: {error}") from None
    if len(encoded) > max_bytes:
        raise InvalidPayload(
            f"the {what} has {len(encoded):,} bytes, {max_bytes:,} are allowed: "
            "put a reference instead"
        )
    if b"\\u0000" in encoded and ESCAPED_NUL.search(encoded):
        raise InvalidPayload(
            f"the {what} holds a NUL character (\\u0000), which Postgres cannot store"
        )
    return encoded
