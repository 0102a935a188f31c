"""Connections that are lost without being closed: nothing arrives on them any more."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from taskmaster import Publisher
from taskmaster.errors import DatabaseUnreachable
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.listener import Listener
from taskmaster.processes.supervisor.database.probe import Probe
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.store import connection
from taskmaster.store.connection import Connection
from tests.support import eventually
from tests.support.proxy import MuteProxy, SilentProxy, proxied
from tests.support.store import SCHEMA

PROBE_SECONDS = 0.2


@dataclass(slots=True)
class CountingProbe(Probe):
    received: int = 0

    def on_received(self) -> None:
        Probe.on_received(self)
        self.received += 1


class Listening:
    """A listener with its session, each step at the real time. `connects` counts connections."""

    def __init__(self, url: str) -> None:
        self.jobs: Counter[str] = Counter()
        self.connects = 0
        self.probe = CountingProbe(PROBE_SECONDS, PROBE_SECONDS)
        self.session = DatabaseSession(Database(url, SCHEMA))
        self.listener = Listener(
            self.session,
            self.jobs.update,
            lambda now: None,
            self.count,
            probe=self.probe,
        )

    def count(self) -> None:
        self.connects += 1

    def step(self) -> None:
        now = time.monotonic()
        self.session.run_due(now)
        self.listener.run_due(now)
        self.listener.read()

    def has(self, fact: Callable[[], bool]) -> bool:
        self.step()
        return fact()

    def probes(self, number: int) -> None:
        """Run until this number of further probes was received."""
        wanted = self.probe.received + number
        eventually(lambda: self.has(lambda: self.probe.received >= wanted))


@contextmanager
def listening(url: str) -> Iterator[Listening]:
    one = Listening(url)
    eventually(lambda: one.has(lambda: one.listener.is_up))
    try:
        yield one
    finally:
        one.listener.close()
        one.session.close()


def test_silent_listener_is_replaced_and_says_so(
    database_url: str, conn: Connection, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    conn.execute("select setval('idle_until', 9999999999999)")
    with proxied(SilentProxy, database_url, conn) as (proxy, url), listening(url) as one:
        one.probes(2)
        assert one.connects == 1
        proxy.silence(b"taskmaster listener")
        eventually(lambda: one.has(lambda: one.connects == 2))
        publisher.put("q")
        eventually(lambda: one.has(lambda: one.jobs["q"] == 1))
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("listener")] == [
        "listener silent, reconnecting: a notification sent to it has not arrived within 0.2 s",
        "listener reconnected",
    ]


def test_listener_is_not_blamed_for_the_silence_of_the_session(
    database_url: str, conn: Connection
) -> None:
    with proxied(SilentProxy, database_url, conn) as (proxy, url), listening(url) as one:
        assert one.session.connection is not None
        one.session.connection.patience_seconds = 0.5  # type: ignore[attr-defined]
        proxy.silence(b"taskmaster supervisor")
        eventually(lambda: one.has(lambda: not one.session.is_open))
        one.probes(2)
        assert one.session.is_open
        assert one.connects == 1


def test_listener_of_another_server_than_the_session_is_replaced(
    database_url: str, empty_database_url: str
) -> None:
    with listening(database_url) as one:
        one.probes(1)
        one.session.close()
        one.session.supervisor_id = None
        one.session.database = Database(empty_database_url, SCHEMA)
        eventually(lambda: one.has(lambda: one.connects == 2))
        one.probes(2)
        assert one.connects == 2


def test_probe_that_a_late_loop_reads_late_is_in_time(database_url: str) -> None:
    with listening(database_url) as one:
        one.probes(1)
        eventually(lambda: one.has(lambda: one.probe.silent_at < math.inf))
        eventually(lambda: time.monotonic() > one.probe.silent_at + PROBE_SECONDS)
        one.probes(2)
        assert one.connects == 1


def test_connection_that_opens_and_then_is_silent_is_given_up(
    database_url: str, conn: Connection
) -> None:
    with (
        proxied(MuteProxy, database_url, conn) as (_, url),
        pytest.raises(DatabaseUnreachable, match=r"has not responded within 2\.1 s"),
    ):
        connection.connect(url, SCHEMA, statement_seconds=0.1)
