"""One lazily opened connection for a publisher or an admin: reopened when it broke, never used across a fork."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import psycopg

from taskmaster.embedded import resolve_url
from taskmaster.errors import DatabaseUnreachable
from taskmaster.store import migrate
from taskmaster.store.connection import Connection, connect
from taskmaster.validation import check_schema


@dataclass(slots=True, eq=False, weakref_slot=True)
class Session:
    """`database_url` None: TASKMASTER_DATABASE_URL, else the embedded server. Safe for threads: one at a time."""

    database_url: str | None
    schema: str
    migrating: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    pid: int = 0
    connection: Connection | None = None
    url: str | None = None
    resources: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        check_schema(self.schema)
        opened.add(self)

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """The connection, opened if need be. Raises DatabaseUnreachable when it cannot be, or breaks during use."""
        with self.lock:
            conn = self._opened()
            try:
                yield conn
            except psycopg.OperationalError as error:
                if not conn.broken:
                    raise
                reason = " ".join(str(error).split())
                raise DatabaseUnreachable(
                    f"the connection was lost, the last statement may or may not be done: {reason}"
                ) from error

    def _opened(self) -> Connection:
        if (
            self.pid != os.getpid()
        ):  # inherited through a fork: it is the parent's to use and to close
            self.connection, self.resources = None, ExitStack()
        if self.connection is None or self.connection.closed:
            self.connection = self._connect()
            self.pid = os.getpid()
        return self.connection

    def _connect(self) -> Connection:
        if self.url is None:
            self.url = self.resources.enter_context(resolve_url(self.database_url))
        conn = connect(self.url, self.schema)
        try:
            if self.migrating:
                migrate.migrate(conn, self.schema)
            else:
                migrate.check(conn, self.schema)
        except BaseException:
            conn.close()
            raise
        return conn

    def close(self) -> None:
        """Close what this process has opened."""
        with self.lock:
            if self.pid == os.getpid() and self.connection is not None:
                self.connection.close()
                self.resources.close()
            self.connection = None


opened: WeakSet[Session] = WeakSet()


def _renew_locks() -> None:
    """In a fork: another thread of the parent may have held one at that moment, and is not here to let go of it."""
    for session in list(opened):
        session.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)
