"""Liveness of supervisors, the schedule, and what is left behind by those that are gone."""

from typing import NamedTuple

from taskmaster.store.connection import Connection
from taskmaster.store.statements import statement

PROMOTE_AT_MOST = 1000


class Heartbeat(NamedTuple):
    """`alive` is False when others took this supervisor for dead; `due_seconds` is until the next scheduled job."""

    alive: bool
    due_seconds: float | None


class SupervisorStatus(NamedTuple):
    """One supervisor: since when it is up, and since when nothing was heard of it, in seconds."""

    name: str
    up_seconds: float
    silent_seconds: float


def register(conn: Connection, name: str) -> int:
    """Enter a new supervisor; its id."""
    row = conn.execute(statement("register"), {"name": name}).fetchone()
    assert row is not None
    return int(row[0])


def retire(conn: Connection, supervisor: int) -> None:
    """Leave in order."""
    conn.execute(statement("retire"), {"supervisor": supervisor})


def heartbeat(conn: Connection, supervisor: int, *, idle: bool, idle_ms: int) -> Heartbeat:
    """Say that the supervisor lives, and, when somebody is idle, that puts shall notify."""
    parameters = {"supervisor": supervisor, "idle": idle, "idle_ms": idle_ms}
    row = conn.execute(statement("heartbeat"), parameters).fetchone()
    return Heartbeat(False, None) if row is None else Heartbeat(True, row[0])


def doze(conn: Connection, idle_ms: int) -> None:
    """Say that somebody sleeps: puts shall notify for so long."""
    conn.execute(statement("doze"), {"idle_ms": idle_ms})


def promote(conn: Connection) -> tuple[int, float | None]:
    """Make due jobs ready: how many, and seconds until the next one is due."""
    row = conn.execute(statement("promote"), {"most": PROMOTE_AT_MOST}).fetchone()
    assert row is not None
    return row[0], row[1]


def rescue(conn: Connection, supervisor: int, *, gone_after: float, max_crashes: int) -> int:
    """Give back the leases of supervisors silent for `gone_after` seconds; how many jobs."""
    parameters = {"supervisor": supervisor, "gone_after": gone_after, "max_crashes": max_crashes}
    row = conn.execute(statement("rescue"), parameters).fetchone()
    return int(row[0]) if row else 0


def find(conn: Connection) -> list[SupervisorStatus]:
    """The supervisors that are registered."""
    return [SupervisorStatus(*row) for row in conn.execute(statement("supervisors")).fetchall()]
