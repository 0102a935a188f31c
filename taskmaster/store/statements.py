"""Read the SQL statements, one file each in `sql/`.

Python passes parameters and never builds SQL from values.
"""

from functools import cache
from importlib.resources import files

from psycopg import sql


@cache
def statement(name: str) -> bytes:
    """Return the SQL in `sql/<name>.sql`, for a connection with taskmaster's search path.

    Its name replaces its comments, because pg_stat_activity shows only the first kilobyte. Bytes,
    because psycopg's types take a string only if it is a literal.
    """
    text = files("taskmaster.store").joinpath("sql", f"{name}.sql").read_text()
    code = [line for line in text.splitlines() if not line.startswith("--")]
    return "\n".join([f"-- {name}", *code]).encode()


@cache
def statement_for(name: str, schema: str) -> bytes:
    """Return the SQL for any search path: `{schema}` becomes the quoted name of the schema."""
    text, quoted = statement(name).decode(), sql.Identifier(schema).as_string()
    if "%(" in text:  # psycopg reads % as a placeholder only in a statement with parameters
        quoted = quoted.replace("%", "%%")
    return text.replace("{schema}", quoted).encode()
