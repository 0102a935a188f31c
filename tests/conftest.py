"""Fixtures for tests with a real database and real processes."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from taskmaster import Admin, Consumer, Publisher, Supervisor, SupervisorOptions
from taskmaster.store.connection import Connection, connect, connect_worker
from tests.support import (
    Gates,
    Journal,
    RunningSupervisor,
    Server,
    Supervise,
    run_supervisor,
    running_server,
)
from tests.support.journal import GATES, JOURNAL
from tests.support.server import SCHEMA

# Tests ignore what the shell around them has set.
for name in ("TASKMASTER_DATABASE_URL", "TASKMASTER_SCHEMA"):
    os.environ.pop(name, None)

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

# Intervals of milliseconds, except where a busy machine would look like a fault.
QUICK: dict[str, Any] = {
    "grace_seconds": 10.0,
    "heartbeat_seconds": 0.1,
    "gone_after_seconds": 5.0,
    "slow_after_seconds": 0.1,
    "restart_base_seconds": 0.01,
    "restart_max_seconds": 0.1,
}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that all tests share."""
    with running_server() as server:
        yield server


@pytest.fixture
def database_url(server: Server) -> Iterator[str]:
    """A fresh database with taskmaster's schema, dropped after the test."""
    with server.database() as url:
        yield url


@pytest.fixture
def empty_database_url(server: Server) -> Iterator[str]:
    """A fresh database without taskmaster's schema."""
    with server.database(empty=True) as url:
        yield url


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    """A connection like taskmaster's own."""
    with connect(database_url, SCHEMA, name="test") as conn:
        yield conn


@pytest.fixture
def hot(database_url: str) -> Iterator[Connection]:
    """A connection like that of a worker: plans pinned, JSON as bytes."""
    with connect_worker(database_url, SCHEMA, name="test") as conn:
        yield conn


@pytest.fixture
def connection(database_url: str) -> Iterator[Callable[[], Connection]]:
    """Make further connections like `conn`."""
    made: list[Connection] = []

    def make() -> Connection:
        made.append(connect(database_url, SCHEMA, name="test"))
        return made[-1]

    yield make
    for conn in made:
        conn.close()


@pytest.fixture
def publisher(database_url: str) -> Iterator[Publisher]:
    with Publisher(database_url) as publisher:
        yield publisher


@pytest.fixture
def admin(database_url: str) -> Iterator[Admin]:
    with Admin(database_url) as admin:
        yield admin


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal to which callbacks of tests.support append what they do."""
    return Journal(tmp_path / "journal")


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    """The gates at which callbacks wait."""
    return Gates(tmp_path / "gates")


@pytest.fixture
def supervise(database_url: str, journal: Journal, gates: Gates) -> Supervise:
    """Start supervisors on the test's database."""
    environment = {JOURNAL: str(journal.path), GATES: str(gates.directory)}

    def start(
        *consumers: Consumer,
        schema: str = SCHEMA,
        url: str | None = None,
        within: float = 20.0,
        **options: Any,
    ) -> AbstractContextManager[RunningSupervisor]:
        chosen = SupervisorOptions(**{**QUICK, **options})
        supervisor = Supervisor(
            url or database_url, consumers=consumers, options=chosen, schema=schema
        )
        return run_supervisor(supervisor, environment, within=within)

    return start
