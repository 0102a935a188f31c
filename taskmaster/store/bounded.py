"""A connection that waits for the server for a bounded time."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


class NoReply(psycopg.OperationalError):
    """The server did not reply in time. The statement may or may not have been executed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that does not reply.

    A server process that hangs keeps its TCP connection alive, so no network timeout ends the wait.
    """

    patience_seconds: float | None = 60.0

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        if self.patience_seconds is None:
            return super().wait(gen, *arguments, **options)
        bounded = _time_out(gen, self.patience_seconds, self.while_waiting)
        try:
            return super().wait(bounded, *arguments, **options)
        except NoReply:
            self.close()  # a late reply would be taken for the reply to another statement
            raise

    @classmethod
    def while_waiting(cls) -> None:
        """Do what must not wait for the server. Called several times a second during each wait."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        return _time_out(super()._connect_gen(conninfo), math.inf, cls.while_waiting)


@contextmanager
def without_bound(conn: Connection) -> Iterator[None]:
    """Let statements in this block wait for the server for ever, as callbacks may want to."""
    assert isinstance(conn, BoundedConnection)
    bound, conn.patience_seconds = conn.patience_seconds, None
    try:
        yield
    finally:
        conn.patience_seconds = bound


def _time_out(
    gen: Generator[Any, Any, Any], seconds: float, while_waiting: Callable[[], object]
) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for, and raise NoReply after `seconds`.

    psycopg resumes the generator several times a second while it waits.
    """
    deadline = time.monotonic() + seconds
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:
                while_waiting()
                if time.monotonic() > deadline:
                    raise NoReply(f"the server has not responded within {seconds:g} s")
            state = gen.send(ready)
    except StopIteration as done:
        return done.value
