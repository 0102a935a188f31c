"""Open a connection, refuse a database that cannot be used, and set the session up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from taskmaster.environment import libpq_environment, libpq_variables, wanted_server
from taskmaster.errors import DatabaseUnreachable, InvalidConfig
from taskmaster.store.bounded import BoundedConnection, Connection, NoReply
from taskmaster.store.faults import (
    NO_RIGHT,
    Fault,
    describe_bad_url,
    fault_of,
    one_line,
)
from taskmaster.store.poolers import refuse_transaction_pooling
from taskmaster.store.urls import refuse_unescaped, refused_option

CONNECT_TIMEOUT_SECONDS = 3
# Versions of Postgres that have a timeout. All that are supported have the others.
SINCE = {"transaction_timeout": 170_000}


class _CutShort(DatabaseUnreachable):
    """The session ended before it was set up. With `options` no timeout would have ended it."""

    def __init__(self, sentence: str, options: str) -> None:
        super().__init__(sentence)
        self.options = options


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How to open a session: `set_up` runs on the new connection.

    Until then the timeouts of the role, the database or the environment hold, and `unbounded` names
    those that must not.
    """

    database_url: str
    name: str
    set_up: Callable[[Connection], None]
    unbounded: Sequence[str]
    kind: type[BoundedConnection] = BoundedConnection
    patience_seconds: float = 60.0

    def open(self) -> BoundedConnection:
        """Return the connection.

        If a timeout may have cut the session short, it is tried once more without timeouts. Not at
        once, because connection poolers refuse such options.

        Raises DatabaseUnreachable and InvalidConfig.
        """
        try:
            return self._open()
        except _CutShort as cut:
            return self._open(cut.options)

    def _open(self, options: str | None = None) -> BoundedConnection:
        conn = self._connect(self.kind, options)
        unbounded = self._options_without_timeouts(conn)
        conn.patience_seconds = self.patience_seconds
        try:
            _refuse_other_encodings(conn)
            refuse_transaction_pooling(conn, lambda: self._connect(BoundedConnection, options))
            self.set_up(conn)
        except psycopg.Error as error:
            sentence = f"the database refused the session: {_describe_refusal(error)}"
            is_cut = fault_of(error, conn) in (Fault.LOST, Fault.BUSY)
            conn.close()
            if is_cut and not isinstance(error, NoReply):
                raise _CutShort(sentence, unbounded) from None
            raise DatabaseUnreachable(sentence) from None
        except BaseException:
            conn.close()
            raise
        return conn

    def _connect(self, kind: type[BoundedConnection], options: str | None) -> BoundedConnection:
        url = self.database_url
        try:
            refuse_unescaped(url)
            with libpq_environment(url):
                return kind.connect(
                    url,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    client_encoding="UTF8",  # whatever PGCLIENTENCODING or the database say
                    application_name=self.name,
                    fallback_application_name=self.name,
                    options=options,
                    target_session_attrs=wanted_server(url),
                    prepare_threshold=0,
                    keepalives_idle=10,
                    keepalives_interval=3,
                    keepalives_count=3,
                    tcp_user_timeout=15_000,  # ms until data that is not acknowledged is an error
                )
        except psycopg.ProgrammingError as error:
            raise InvalidConfig(describe_bad_url(url, error)) from None
        except (psycopg.Error, OSError) as error:  # descriptors may be short
            if option := refused_option(error):
                raise InvalidConfig(
                    f"cannot connect to the database: libpq does not accept the value of {option!r}"
                    f" in database_url or in its environment variable{_name_variables(url)}"
                ) from None
            raise DatabaseUnreachable(_describe_failure(url, error)) from None

    def _options_without_timeouts(self, conn: Connection) -> str:
        version = conn.info.server_version
        names = [name for name in self.unbounded if version >= SINCE.get(name, 0)]
        return " ".join([conn.info.options, *(f"-c {name}=0" for name in names)])


def _refuse_other_encodings(conn: Connection) -> None:
    """Raise InvalidConfig unless the database is encoded in UTF-8.

    Another encoding could store neither every payload nor taskmaster's own statements.
    """
    encoding = conn.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):  # a connection pooler may not report it
        raise InvalidConfig(
            f"the database must be encoded in UTF-8, it is {encoding}: "
            "create one with ENCODING 'UTF8' TEMPLATE template0"
        )


def _describe_failure(database_url: str, error: Exception) -> str:
    """Return why there is no connection, with the variables that have a part in it."""
    return f"cannot connect to the database: {one_line(error)}{_name_variables(database_url)}"


def _name_variables(database_url: str) -> str:
    names = ", ".join(libpq_variables(database_url))
    return f" (from the environment: {names})" if names else ""


def _describe_refusal(error: psycopg.Error) -> str:
    """Return why the session was refused, with the way out if a setting is to blame."""
    is_setting = error.sqlstate == NO_RIGHT and "set parameter" in str(error)
    way_out = ": reset it for the role, the database and in PGOPTIONS" if is_setting else ""
    return one_line(error) + way_out
