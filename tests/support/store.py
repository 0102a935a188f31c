"""Short forms of what the tests of the store do often."""

from taskmaster.failure import Failure
from taskmaster.job import State
from taskmaster.settlement import Settlement
from taskmaster.store import jobs, leases, supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.cursor import Cursor
from taskmaster.store.leases import Claimant, Lease

QUEUE = "q"
SCHEMA = "taskmaster"


def put(
    conn: Connection,
    payload: bytes = b"{}",
    *,
    queue: str = QUEUE,
    priority: int = 0,
    delay: float = 0.0,
) -> int:
    """Put one job and return its id."""
    return jobs.put(conn, SCHEMA, jobs.Entry(queue, priority, delay), (payload, None))


def put_many(conn: Connection, count: int, *, queue: str = QUEUE, priority: int = 0) -> list[int]:
    return jobs.put_many(conn, SCHEMA, jobs.Entry(queue, priority, 0.0), [(b"{}", None)] * count)


def claim(
    conn: Connection,
    *,
    batch: int = 100,
    queue: str = QUEUE,
    supervisor: int = 0,
    cursor: Cursor | None = None,
) -> Lease | None:
    """Claim as a worker of `supervisor` does. 0 is a supervisor that is not registered."""
    return leases.claim(
        conn,
        Claimant(supervisor, f"worker of {supervisor}", queue),
        cursor or Cursor(),
        batch=batch,
    )


def claimed(
    conn: Connection, *, batch: int = 100, queue: str = QUEUE, supervisor: int = 0
) -> Lease:
    """Claim when there must be something to claim."""
    lease = claim(conn, batch=batch, queue=queue, supervisor=supervisor)
    assert lease is not None
    return lease


def ids(lease: Lease | None) -> list[int]:
    return [] if lease is None else [row.id for row in lease.jobs]


def states(conn: Connection) -> dict[int, State]:
    """Return the state of each job by id. Fail if the view shows a job twice."""
    found = [
        (record.id, record.state)
        for record in jobs.find(conn, queue_name=None, state=None, most=10_000)
    ]
    assert len(dict(found)) == len(found), f"a job is shown twice: {found}"
    return dict(found)


def rejected(conn: Connection, *, queue: str = QUEUE) -> int:
    """Return the id of a job that was rejected on its first run."""
    job_id = put(conn, queue=queue)
    lease = claimed(conn, queue=queue)
    failure = Failure(cause="rejected", message="no good", run=1)
    assert leases.settle(
        conn, lease.token, [Settlement(job_id, State.REJECTED, charged=True, failure=failure)]
    )
    return job_id


def register(conn: Connection, *, silent_for: float = 0.0) -> int:
    """Register a supervisor whose last heartbeat was this many seconds ago."""
    supervisor = supervisors.register(conn, "test")
    conn.execute(
        "update supervisors set heartbeat_at = clock_timestamp() - make_interval(secs => %s)"
        " where id = %s",
        (silent_for, supervisor),
    )
    return supervisor


def leases_left(conn: Connection) -> int:
    row = conn.execute("select count(*) from leases").fetchone()
    assert row is not None
    return int(row[0])


def beat(
    conn: Connection, supervisor: int, *, idle: bool = False, idle_ms: int = 0
) -> supervisors.Heartbeat | None:
    """Write a heartbeat. Return None if the supervisor was rescued."""
    return supervisors.heartbeat(
        conn, supervisor, supervisors.HeartbeatReport(idle=idle, idle_ms=idle_ms)
    )


def rescue(conn: Connection, *silent: int, given_up: bool = False, max_crashes: int = 3) -> int:
    """Rescue as a supervisor that has seen no heartbeat of these since the one in the table."""
    rows = conn.execute(
        "select id, heartbeat_at from supervisors where id = any(%s)", (list(silent),)
    ).fetchall()
    seen = [supervisors.SilentSupervisor(id, heartbeat_at, given_up) for id, heartbeat_at in rows]
    return supervisors.rescue(conn, seen, max_crashes=max_crashes)
