"""The connection of a publisher or an admin, opened at its first use.

It is opened again if it broke, and never used across a fork.
"""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import psycopg

from taskmaster.embedded import resolve_url
from taskmaster.errors import DatabaseRefused, DatabaseUnreachable, TaskmasterError
from taskmaster.store import migrate
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import Fault, describe_fault, fault_of, one_line
from taskmaster.validation import check_schema


@dataclass(slots=True, eq=False, weakref_slot=True)
class Session:
    """One connection, which threads use one at a time.

    Without `database_url`, the variable TASKMASTER_DATABASE_URL names the database, or else the
    embedded server is used. `creating`: create the schema if it is missing.
    """

    database_url: str | None = field(repr=False)
    schema: str
    creating: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    pid: int = 0
    connection: Connection | None = None
    url: str | None = field(default=None, repr=False)
    resources: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        check_schema(self.schema)
        sessions.add(self)

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Yield the connection, opened if necessary.

        Raises DatabaseUnreachable if it cannot be opened or breaks during use, DatabaseRefused if
        the database refuses a statement, and SchemaMismatch.
        """
        with self.lock:
            conn = self._open()
            try:
                yield conn
            except psycopg.Error as error:
                raise self._explain(error, conn) from error

    def _explain(self, error: psycopg.Error, conn: Connection) -> TaskmasterError:
        """Return the error as a sentence. A session that can be of no more use is closed."""
        if conn.closed:
            return DatabaseUnreachable(
                "the connection was lost, the last statement may or may not be done: "
                f"{one_line(error)}"
            )
        sentence = describe_fault(error, self.schema)
        if fault_of(error, conn) is Fault.LOST:
            conn.close()  # another server may be the primary by now
            return DatabaseUnreachable(sentence)
        return DatabaseRefused(sentence)

    def _open(self) -> Connection:
        if self.pid != os.getpid():  # inherited through a fork, it is the parent's to use and close
            self.connection, self.resources = None, ExitStack()
        if self.connection is not None and _was_cut(self.connection):
            self.connection.close()
        if self.connection is None or self.connection.closed:
            self.connection = self._connect()
            self.pid = os.getpid()
        return self.connection

    def _connect(self) -> Connection:
        if self.url is None:
            self.url = self.resources.enter_context(resolve_url(self.database_url))
        conn = connect(self.url, self.schema)
        try:
            if self.creating and migrate.version(conn) is None:
                migrate.migrate(conn, self.schema)
            migrate.check(conn, self.schema)
        except BaseException:
            conn.close()
            raise
        return conn

    def close(self) -> None:
        """Close the connection if this process has opened it."""
        with self.lock:
            if self.pid == os.getpid() and self.connection is not None:
                self.connection.close()
                self.resources.close()
                self.url = None
            self.connection = None


def _was_cut(conn: Connection) -> bool:
    """Return whether the server may have ended the session since its last use.

    Between two statements a server sends little else: a changed parameter, which costs no more than
    another connection.
    """
    if conn.closed:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


sessions: WeakSet[Session] = WeakSet()


def close_sessions() -> None:
    """Close the connections of this process before it forks. Each is opened again when used."""
    for session in list(sessions):
        session.close()


def _renew_locks() -> None:
    """Replace the locks in a fork: a thread that held one in the parent does not exist here."""
    for session in list(sessions):
        session.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)
