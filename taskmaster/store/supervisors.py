"""Register supervisors, write and compare their heartbeats, and release what lost ones leave."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg

from taskmaster.store.apart import spoiled_among
from taskmaster.store.connection import Connection
from taskmaster.store.rows import fetch_all, fetch_column, fetch_first, fetch_value
from taskmaster.store.statements import statement, statement_for


class HeartbeatReport(NamedTuple):
    """The report of a supervisor, sent with a heartbeat.

    `locked`: its session holds the lock that shows that the supervisor is alive. `queue_names` are
    the queues that it serves, or None if it does not say.
    """

    idle: bool
    idle_ms: int
    locked: bool = False
    lost_leases: int = 0
    running: Sequence[dict[str, Any]] = ()
    queue_names: list[str] | None = None


class Heartbeat(NamedTuple):
    """The reply to a heartbeat.

    `due_seconds`: until the next scheduled job is due. `others`: the last heartbeat of each other
    supervisor, by id. `locked`: whether its session holds its lock now.
    """

    due_seconds: float | None
    others: dict[int, datetime]
    locked: bool


class SilentSupervisor(NamedTuple):
    """A supervisor that has sent no heartbeat since this one.

    `given_up`: it has been silent for so long that its session lock no longer counts.
    """

    id: int
    heartbeat_at: datetime
    given_up: bool


class SupervisorStatus(NamedTuple):
    """One supervisor: how long it has been up, and how long ago its last heartbeat was.

    `queue_names` are the queues that it serves, or None if its version does not say.
    """

    name: str
    up_seconds: float
    silent_seconds: float
    lost_leases: int
    queue_names: Sequence[str] | None


class RunningJob(NamedTuple):
    """A run that has lasted for a second or longer.

    `progress`: from 0 to 1, or None if it has reported none.
    """

    job_id: int
    queue_name: str
    worker: str
    pid: int
    seconds: float
    progress: float | None
    note: str | None


def register(conn: Connection, name: str) -> int:
    """Register a new supervisor under a random id of 62 bits, and return that."""
    parameters = {"id": secrets.randbits(62), "name": name}
    return int(fetch_value(conn, statement("supervisors/register"), parameters))


def retire(conn: Connection, supervisor: int) -> None:
    """Remove a supervisor that leaves in order."""
    conn.execute(statement("supervisors/retire"), {"supervisor": supervisor})


def watch_session(conn: Connection) -> None:
    """Have the server end this session soon after its host is lost."""
    conn.execute(statement("sessions/probe_often"))


def heartbeat(conn: Connection, supervisor: int, report: HeartbeatReport) -> Heartbeat | None:
    """Write a heartbeat. Return None if another supervisor has rescued this one's leases."""
    parameters = {
        **report._asdict(),
        "supervisor": supervisor,
        "running": orjson.dumps(report.running).decode(),
    }
    return fetch_first(conn, _heartbeat, statement("supervisors/heartbeat"), parameters)


def _heartbeat(
    *,
    due_seconds: float | None,
    ids: Sequence[int],
    heartbeats: Sequence[datetime],
    locked: bool,
    idle_until: int | None,
) -> Heartbeat:
    return Heartbeat(due_seconds, dict(zip(ids, heartbeats, strict=True)), locked)


def announce_idle(conn: Connection, schema: str, idle_ms: int) -> None:
    """Have puts notify for `idle_ms` from now, because a worker is idle. Any connection will do."""
    conn.execute(
        statement_for("supervisors/announce_idle", schema), {"schema": schema, "idle_ms": idle_ms}
    )


def notify(conn: Connection, schema: str, payload: str) -> None:
    """Send a notification on the channel of `schema`."""
    conn.execute(statement("supervisors/notify"), {"schema": schema, "payload": payload})


def rescue(
    conn: Connection,
    silent: Sequence[SilentSupervisor],
    *,
    max_crashes: int,
    only: Sequence[UUID] | None = None,
) -> int:
    """Release the leases of silent supervisors and of those that are not registered.

    If `only` is given, no other leases are released. Return how many jobs there were.
    """
    parameters = {
        "only": None if only is None else list(only),
        "ids": [supervisor.id for supervisor in silent],
        "heartbeats": [supervisor.heartbeat_at for supervisor in silent],
        "given_up": [supervisor.given_up for supervisor in silent],
        "max_crashes": max_crashes,
    }
    return int(fetch_value(conn, statement("supervisors/rescue"), parameters))


def rescue_apart(
    conn: Connection, silent: Sequence[SilentSupervisor], *, max_crashes: int
) -> list[tuple[UUID, psycopg.Error]]:
    """Rescue although one lease spoils it. Return the spoiled leases, each with its error."""
    parameters = {"ids": [supervisor.id for supervisor in silent]}
    lost = fetch_column(conn, statement("supervisors/lost_leases"), parameters)
    rescue_some = partial(rescue, conn, silent, max_crashes=max_crashes)
    return spoiled_among(conn, lambda tokens: rescue_some(only=tokens), lost)


def running(conn: Connection, job_id: int | None, *, most: int) -> list[RunningJob]:
    """Return what runs now, longest first, of one job or of all (None)."""
    parameters = {"id": job_id, "most": most}
    return fetch_all(conn, RunningJob, statement("supervisors/running"), parameters)


def find(conn: Connection) -> list[SupervisorStatus]:
    """Return the supervisors that are registered."""
    return fetch_all(conn, SupervisorStatus, statement("supervisors/list"))
