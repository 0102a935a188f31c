"""The SQL statements, one file each in `sql/`. Python passes parameters and never builds SQL from values."""

from functools import cache
from importlib.resources import files

from psycopg import sql


@cache
def statement(name: str) -> bytes:  # psycopg takes bytes; a str would have to be a literal
    """The SQL kept in `store/sql/<name>.sql`, for a connection whose search path is taskmaster's schema."""
    return files("taskmaster.store").joinpath("sql", f"{name}.sql").read_bytes()


@cache
def statement_for(name: str, schema: str) -> bytes:
    """The same for any connection: `{schema}` in the file becomes the quoted name of the schema."""
    text, name_in_sql = statement(name).decode(), sql.Identifier(schema).as_string()
    if "%(" in text:  # psycopg reads a % as its own in a statement with parameters, and in no other
        name_in_sql = name_in_sql.replace("%", "%%")
    return text.replace("{schema}", name_in_sql).encode()
