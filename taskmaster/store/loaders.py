"""Read values that SQL allows and a Python library refuses, so that one odd row spoils no other.

Nothing is rounded, except that a time which Python's datetime does not have becomes its first or
last one.
"""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader
from psycopg.types.json import set_json_loads

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

TIMESTAMPTZ = psycopg.adapters.types["timestamptz"].oid
decode_json = msgspec.json.Decoder().decode
# What it raises for JSON that Postgres accepts: 1e999, \ud800, thousands of digits or levels.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def register_loaders(conn: psycopg.Connection[Any]) -> None:
    """Let rows read from this connection hold any time and any JSON."""
    register_time_loaders(conn.adapters)
    set_json_loads(load_json, conn)


def register_time_loaders(adapters: AdaptersMap) -> None:
    """Let rows read with these adapters hold any time."""
    adapters.register_loader("timestamptz", _TimeLoader)
    adapters.register_loader("timestamptz", _BinaryTimeLoader)


def use_fast_loaders(conn: psycopg.Connection[Any]) -> None:
    """Let rows read from this connection hold JSON as it is stored, and only usual times.

    The statements that read times on it keep them within those of Python's datetime. A loader in
    Python would add 1.2 µs to the 3 µs that a job costs its worker.
    """
    set_json_loads(_keep_bytes, conn)
    for loader_format in (Format.TEXT, Format.BINARY):
        loader = psycopg.adapters.get_loader(TIMESTAMPTZ, loader_format)
        assert loader is not None
        conn.adapters.register_loader(TIMESTAMPTZ, loader)


def load_json(data: str | bytes) -> Any:
    """Return the decoded JSON, exactly. What cannot be decoded is returned as its text."""
    try:
        return decode_json(data)
    except UNREADABLE:
        return _load_lenient_json(data)


def _load_lenient_json(data: str | bytes) -> Any:
    """Decode with the standard library, or return the text as it is."""
    try:
        return json.loads(data)
    except (RecursionError, ValueError):
        return data if isinstance(data, str) else data.decode()


def _keep_bytes(data: str | bytes) -> str | bytes:
    return data


class _TimeLoader(TimestamptzLoader):
    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            is_before = bytes(data).startswith(b"-") or bytes(data).endswith(b"BC")
            return FIRST if is_before else LAST


class _BinaryTimeLoader(TimestamptzBinaryLoader):
    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except (psycopg.DataError, OverflowError):
            return FIRST if bytes(data)[0] & 0x80 else LAST  # it is a signed number
