"""Proxies between clients and the server, which cut or silence connections."""

import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from threading import Event, Thread
from typing import TypeVar
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from taskmaster.store.connection import Connection

PORT = 5432
LIVES_SECONDS = 30.0
FIRST_STATEMENT = b"select pg_backend_pid()"


class Proxy(ThreadingUnixStreamServer):
    """Passes everything on. Subclasses override `passes`."""

    def __init__(self, directory: str, conn: Connection) -> None:
        super().__init__(f"{directory}/.s.PGSQL.{PORT}", ProxiedConnection)
        self.host, self.port = conn.info.host, conn.info.port

    def connect(self) -> socket.socket:
        if not self.host.startswith("/"):
            return socket.create_connection((self.host, self.port))
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{self.host}/.s.PGSQL.{self.port}")
        return upstream

    def passes(self, connection: "ProxiedConnection", data: bytes, *, is_reply: bool) -> bool:
        """Return whether to pass `data` on. If not, the connection is cut."""
        return True

    def release(self) -> None:
        """End what `passes` waits for."""


class ProxiedConnection(BaseRequestHandler):
    """One connection. `opening` is what the client sent first, with its application's name."""

    server: Proxy
    opening: bytes = b""

    def handle(self) -> None:
        with self.server.connect() as upstream, suppress(OSError):
            other = {self.request: upstream, upstream: self.request}
            while readable := select.select(list(other), [], [], LIVES_SECONDS)[0]:
                for end in readable:
                    data = end.recv(65_536)
                    self.opening = self.opening or data
                    if not data or not self.server.passes(self, data, is_reply=end is upstream):
                        return
                    other[end].sendall(data)


class SilentProxy(Proxy):
    """Silences connections: they stay open, and nothing passes any more."""

    def __init__(self, directory: str, conn: Connection) -> None:
        super().__init__(directory, conn)
        self.opened: list[ProxiedConnection] = []
        self.silent: list[ProxiedConnection] = []
        self.released = Event()

    def silence(self, name: bytes) -> None:
        """Silence the connections that are open now and whose application's name has `name`."""
        self.silent += [one for one in self.opened if name in one.opening]

    def passes(self, connection: ProxiedConnection, data: bytes, *, is_reply: bool) -> bool:
        if connection not in self.opened:
            self.opened.append(connection)
        if connection in self.silent:
            self.released.wait(LIVES_SECONDS)
            return False
        return True

    def release(self) -> None:
        self.released.set()


class MuteProxy(SilentProxy):
    """Lets each connection open, and silences it at its first statement."""

    def passes(self, connection: ProxiedConnection, data: bytes, *, is_reply: bool) -> bool:
        if FIRST_STATEMENT in data:
            self.silent.append(connection)
        return super().passes(connection, data, is_reply=is_reply)


AnyProxy = TypeVar("AnyProxy", bound=Proxy)


@contextmanager
def proxied(
    kind: Callable[[str, Connection], AnyProxy], database_url: str, conn: Connection
) -> Iterator[tuple[AnyProxy, str]]:
    """Yield a proxy of this kind, and the URL by which the database is reached through it."""
    with tempfile.TemporaryDirectory() as directory, kind(directory, conn) as one:
        parameters = {**conninfo_to_dict(database_url), "host": directory, "port": PORT}
        thread = Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield (
                one,
                "postgresql:///?"
                + "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items()),
            )
        finally:
            one.release()
            one.shutdown()
            thread.join(LIVES_SECONDS)
