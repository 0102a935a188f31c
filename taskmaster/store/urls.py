"""Find the mistakes in a database URL that passwords lead to, without showing a part of it.

libpq's messages quote the text after the mistake, which may be the rest of a password. So only
sentences of this module and the names of libpq's options are shown.
"""

import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from taskmaster.errors import InvalidConfig

# By the beginning of libpq's message.
REASONS = {
    "invalid percent-encoded": "a % in it is not followed by two hexadecimal digits: write it %25",
    "forbidden value %00": "it holds %00",
    "unexpected spaces": "it holds a space: write it %20",
    "end of string reached": "a [ in it is not closed",
    "missing key/value separator": "an option after its ? has no =",
    "extra key/value separator": "an option after its ? has two =",
    "invalid URI query parameter": "an option after its ? is not one of libpq's",
    "unterminated quoted string": "a quote in it is not closed",
    'missing "="': "a word in it has no =: a value with a space needs single quotes",
    "invalid connection option": (
        "a key in it is not one of libpq's: a value with a space needs single quotes"
    ),
}
UNESCAPED = "write @ as %40, / as %2F and : as %3A in a user name or a password"
OPTIONS = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
REFUSED_OPTION = re.compile(r'invalid "?(\w+)"? (?:value|number): "|for connection option "(\w+)"')


def refuse_unescaped(database_url: str) -> None:
    """Raise InvalidConfig if a part of the password was probably read as host, port or database.

    Raises psycopg.ProgrammingError if libpq cannot read the URL at all.
    """
    parts = {key: str(value) for key, value in conninfo_to_dict(database_url).items()}
    hosts, ports = parts.get("host", "").split(","), parts.get("port", "").split(",")
    authority, _, path = database_url.partition("://")[2].partition("?")[0].partition("/")
    is_cut = (
        authority.count("@") > 1
        or "@" in path
        or any("@" in host and not host.startswith(("/", "@")) for host in hosts)  # a socket may
        or any(port.strip() and not port.strip().isdecimal() for port in ports)
    )
    if is_cut:
        raise InvalidConfig(f"database_url cannot be read: {UNESCAPED}")


def reason_unread(error: psycopg.Error) -> str:
    """Return why libpq cannot read a URL."""
    message = str(error)
    found = (reason for words, reason in REASONS.items() if message.startswith(words))
    return next(found, "it is malformed")


def refused_option(error: Exception) -> str | None:
    """Return the option whose value libpq does not accept, or None for another error."""
    found = REFUSED_OPTION.search(str(error))
    name = found and (found[1] or found[2])
    return name if name in OPTIONS else None
