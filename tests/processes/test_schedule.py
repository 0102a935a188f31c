"""Jobs that are due later. A timer finds them and no poll."""

import time

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT

PROMPT_SECONDS = 2.0  # tens of ms on a quiet machine; the next heartbeat is half a minute away


def put_later(publisher: Publisher, conn: Connection, seconds: float) -> tuple[int, object]:
    """Put a job, and return its id and its due time, read before other sessions see it."""
    with conn.transaction():
        job_id = publisher.put("q", delay=seconds, connection=conn)
        row = conn.execute("select run_at from scheduled where id = %s", (job_id,)).fetchone()
    assert row is not None
    return job_id, row[0]


def lateness(conn: Connection, run_at: object, journal: Journal, job_id: int) -> float:
    """Return the seconds from the due time to the start of the callback, plus up to one query."""
    now = time.monotonic()
    row = conn.execute(
        "select extract(epoch from clock_timestamp() - %s)::float8", (run_at,)
    ).fetchone()
    assert row is not None
    return float(row[0]) - (now - journal.runs_of(job_id)[0].began)


def test_delayed_job_runs_at_its_due_time(
    supervise: Supervise, publisher: Publisher, journal: Journal, conn: Connection
) -> None:
    # The heartbeat is further away than the due time: only a timer can be prompt.
    with supervise(Consumer("q", callback=ACT), heartbeat_seconds=30.0, gone_after_seconds=100.0):
        first = publisher.put("q")
        eventually(lambda: journal.finished() == [first] and puts_notify(conn))
        job_id, run_at = put_later(publisher, conn, 0.5)
        eventually(lambda: journal.finished() == [first, job_id])
    assert 0 <= lateness(conn, run_at, journal, job_id) < PROMPT_SECONDS


def test_job_due_before_the_planned_one_runs_in_time(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT), heartbeat_seconds=30.0, gone_after_seconds=100.0):
        first = publisher.put("q")
        eventually(lambda: journal.finished() == [first] and puts_notify(conn))
        later = publisher.put("q", delay=60)
        job_id, run_at = put_later(publisher, conn, 0.3)
        eventually(lambda: journal.finished() == [first, job_id])
        assert admin.get(later).state == State.SCHEDULED
    assert 0 <= lateness(conn, run_at, journal, job_id) < PROMPT_SECONDS


def test_overdue_jobs_are_found_at_the_start(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    ids = publisher.put_many("q", [{}] * 2_500, delay=3600)  # more than one promotion takes
    conn.execute("update scheduled set run_at = clock_timestamp() - interval '1 s'")
    with supervise(Consumer("q", callback=ACT)):
        eventually(lambda: admin.find(most=1) == [])
    assert sorted(journal.finished()) == ids


def test_delayed_job_keeps_its_priority_and_its_id(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    job_id = publisher.put("q", delay=0.05, priority=6)
    with supervise(Consumer("q", callback="tests.support.callbacks:keep_payload")):
        eventually(lambda: admin.find(most=1) == [])
    (line,) = journal.lines("began")
    assert (line["id"], line["priority"]) == (job_id, 6)


def puts_notify(conn: Connection) -> bool:
    """Return whether puts notify, which they do after a worker has found no job."""
    row = conn.execute(
        "select last_value > extract(epoch from clock_timestamp()) * 1000 from idle_until"
    ).fetchone()
    return row == (True,)
