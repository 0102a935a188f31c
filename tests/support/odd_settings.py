"""Odd values for every setting that a role, a database or the environment may bring."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import kwargs_row

# These name libraries that a session could not be opened without.
UNTRIED = {"local_preload_libraries", "session_preload_libraries", "application_name"}
# With these no client could work as plain psycopg does, so they are tried by themselves.
TIMEOUTS = {"statement_timeout", "transaction_timeout", "idle_session_timeout", "lock_timeout",
            "idle_in_transaction_session_timeout"}  # fmt: skip
ALONE = {*TIMEOUTS, "session_replication_role"}
CHOSEN = {
    "DateStyle": ["German, DMY", "SQL, DMY", "Postgres, YMD", "ISO, YMD"],
    "TimeZone": ["Asia/Kathmandu", "-13:30", "Pacific/Kiritimati", "<odd>-3:17"],
    "client_encoding": ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"],
    "search_path": ["", "nowhere", "pg_temp, public", '"$user", pg_catalog, taskmaster'],
    "default_table_access_method": ["odd_heap", "heap"],
    "default_tablespace": ["pg_default"],
    "default_text_search_config": ["pg_catalog.english"],
    "temp_tablespaces": ["pg_default", ""],
    "timezone_abbreviations": ["India", "Australia"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table", "view"],
    "createrole_self_grant": ["set, inherit", ""],
    "lc_messages": ["C", "POSIX"],
    "lc_monetary": ["C", "POSIX"],
    "lc_numeric": ["C", "POSIX"],
    "lc_time": ["C", "POSIX"],
    "dynamic_library_path": ["/nowhere:$libdir"],
    "extension_control_path": ["/nowhere:$system"],
    "backtrace_functions": ["parse_error"],
    "wal_consistency_checking": ["all", ""],
    "output_plugin_libraries": ["pgoutput"],
    "max_stack_depth": ["100"],
    "vacuum_buffer_usage_limit": ["0", "128"],  # nothing between the two
}


class Setting(NamedTuple):
    """A setting and odd values for it."""

    name: str
    context: str
    values: Sequence[str]


def odd_settings(conn: psycopg.Connection[Any]) -> list[Setting]:
    """Return all settings that a role may have, with odd values."""
    cursor = conn.cursor(row_factory=kwargs_row(_setting))
    query = (
        "select name, context, vartype, setting, min_val, max_val, enumvals from pg_settings"
        " where context in ('user', 'superuser') order by name"
    )
    return [found for found in cursor.execute(query).fetchall() if found.values]


def _setting(*, name: str, context: str, **facts: Any) -> Setting:
    is_tried = name not in UNTRIED and not name.startswith("transaction_")
    return Setting(name, context, _odd_values(name, **facts) if is_tried else [])


def _odd_values(
    name: str, vartype: str, setting: str, min_val: str, max_val: str, enumvals: list[str]
) -> list[str]:
    if name in CHOSEN:
        return CHOSEN[name]
    match vartype:
        case "bool":
            return ["off" if setting == "on" else "on"]
        case "enum":
            return [value for value in enumvals if value != setting]
        case "integer" | "real":
            return list(dict.fromkeys([min_val, max_val, _between(min_val, max_val)]))
    raise AssertionError(f"choose odd values for {name}")


def _between(low: str, high: str) -> str:
    """Return an odd number close to the lower bound."""
    return low if low == high else str(min(float(high), float(low) + 7)).removesuffix(".0")


@contextmanager
def settings_of(
    url: str, kind: str, name: str, values: Sequence[tuple[str, str]]
) -> Iterator[None]:
    """Give a role or a database these settings, and take them away at the end."""
    target = sql.SQL("alter " + kind + " {} ").format(sql.Identifier(name))
    with psycopg.connect(url, autocommit=True) as conn:
        for setting, value in values:
            conn.execute(
                target
                + sql.SQL("set {} = ").format(sql.Identifier(setting))
                + sql.SQL(", ").join(_items(setting, value))
            )
        try:
            yield
        finally:
            conn.execute(target + sql.SQL("reset all"))


def _items(setting: str, value: str) -> list[sql.Literal]:
    is_list = setting in ("search_path", "DateStyle", "temp_tablespaces", "output_plugin_libraries")
    parts = value.split(", ") if is_list and value else [value]
    return [sql.Literal(part.strip('"')) for part in parts]


def as_options(values: Sequence[tuple[str, str]]) -> str:
    """Return the settings as a value of PGOPTIONS."""
    return " ".join(
        "-c " + f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ")
        for name, value in values
    )


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
