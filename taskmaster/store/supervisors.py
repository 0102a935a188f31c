"""Liveness of supervisors, the schedule, and what is left behind by those that are gone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from taskmaster.store.connection import Connection
from taskmaster.store.statements import statement, statement_for


class HeartbeatReport(NamedTuple):
    """What a supervisor says with a heartbeat. `locked`: its session holds the lock that says it lives."""

    idle: bool
    idle_ms: int
    locked: bool = False
    lost_leases: int = 0
    running: Sequence[dict[str, Any]] = ()


class Heartbeat(NamedTuple):
    """What it hears. `due_seconds` is until the next scheduled job; `others`: the last heartbeat of each, by id."""

    due_seconds: float | None
    others: dict[int, datetime]
    locked: bool


class Silent(NamedTuple):
    """A supervisor not heard of since a heartbeat. `given_up`: for so long that its session lock counts no more."""

    id: int
    heartbeat_at: datetime
    given_up: bool


class SupervisorStatus(NamedTuple):
    """One supervisor: since when it is up, and since when nothing was heard of it, in seconds."""

    name: str
    up_seconds: float
    silent_seconds: float
    lost_leases: int


class RunningJob(NamedTuple):
    """A run that has lasted for a second or longer. `progress` is from 0 to 1; None: it has not said."""

    job_id: int
    queue_name: str
    worker: str
    pid: int
    seconds: float
    progress: float | None
    note: str | None


def register(conn: Connection, name: str) -> int:
    """Enter a new supervisor; its id."""
    row = conn.execute(statement("supervisors/register"), {"name": name}).fetchone()
    assert row is not None
    return int(row[0])


def retire(conn: Connection, supervisor: int) -> None:
    """Leave in order."""
    conn.execute(statement("supervisors/retire"), {"supervisor": supervisor})


def watch_session(conn: Connection) -> None:
    """Have the server notice soon when this session's host is gone."""
    conn.execute(statement("sessions/probe_often"))


def heartbeat(conn: Connection, supervisor: int, report: HeartbeatReport) -> Heartbeat | None:
    """Say that the supervisor lives; None: others took it for dead."""
    parameters = {
        **report._asdict(),
        "supervisor": supervisor,
        "running": orjson.dumps(report.running).decode(),
    }
    row = conn.execute(statement("supervisors/heartbeat"), parameters).fetchone()
    if row is None:
        return None
    due_seconds, ids, heartbeats, locked, _ = row
    return Heartbeat(due_seconds, dict(zip(ids or (), heartbeats or (), strict=True)), locked)


def announce_idle(conn: Connection, schema: str, idle_ms: int) -> None:
    """Say that somebody sleeps: puts shall notify for so long. Works on any connection."""
    conn.execute(
        statement_for("supervisors/announce_idle", schema), {"schema": schema, "idle_ms": idle_ms}
    )


def rescue(conn: Connection, silent: Sequence[Silent], *, max_crashes: int) -> int:
    """Give back the leases of silent supervisors, and of those that are not registered; how many jobs."""
    parameters = {
        "ids": [one.id for one in silent],
        "heartbeats": [one.heartbeat_at for one in silent],
        "given_up": [one.given_up for one in silent],
        "max_crashes": max_crashes,
    }
    row = conn.execute(statement("supervisors/rescue"), parameters).fetchone()
    return int(row[0]) if row else 0


def running(conn: Connection, job_id: int | None, *, most: int) -> list[RunningJob]:
    """What runs now, longest first; of one job, or (None) of all."""
    rows = conn.execute(statement("supervisors/running"), {"id": job_id, "most": most}).fetchall()
    return [RunningJob(*row) for row in rows]


def find(conn: Connection) -> list[SupervisorStatus]:
    """The supervisors that are registered."""
    return [
        SupervisorStatus(*row) for row in conn.execute(statement("supervisors/list")).fetchall()
    ]
