"""Errors of every class, injected at every statement: other queues and the schedule go on."""

from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State, SupervisorOptions
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.rescuer import Rescuer
from taskmaster.processes.supervisor.database.scheduler import Scheduler
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import Service
from taskmaster.store.connection import Connection
from taskmaster.store.supervisors import Heartbeat
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.server import SCHEMA

# One of each class that can end a statement while its session lives.
SQLSTATES = [
    "08006", "0A000", "22021", "22P05", "23514", "25006", "40001", "42501", "42P01", "53100",
    "53300", "54000", "55000", "55P03", "57014", "58030", "P0001", "XX000",
]  # fmt: skip
# Where the statements fail, and a job that meets it. None: a job that is scheduled, and promoted.
PLACES = [
    ("rejected", "insert", {"do": "reject"}),
    ("scheduled", "insert", {"do": "raise"}),
    ("scheduled", "delete", None),
    ("ready", "delete", {}),
    ("ready", "insert", None),
    ("leases", "insert", {}),
    ("leases", "delete", {"do": "raise"}),
]
MAX_RUNS = 2


def spoil(conn: Connection, table: str, event: str) -> None:
    """Let each statement that does this to a row of queue 'bad CODE' fail with that SQLSTATE."""
    row = "old" if event == "delete" else "new"
    conn.execute(
        "create function spoil() returns trigger language plpgsql as $$ begin"
        f"  if {row}.queue_name like 'bad %' then"
        f"    raise 'spoiled' using errcode = right({row}.queue_name, 5); end if;"
        f"  return {row}; end $$;"
        f"create trigger spoil before {event} on {table} for each row execute function spoil()",
        prepare=False,
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("table", "event", "payload"), PLACES, ids=lambda value: str(value)[:9])
def test_spoiled_queues_stop_no_other(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    conn: Connection,
    journal: Journal,
    table: str,
    event: str,
    payload: dict[str, Any] | None,
) -> None:
    names = ["good", *(f"bad {state}" for state in SQLSTATES)]
    consumers = [
        Consumer(name, callback=ACT, retry_base_seconds=0.01, max_runs=MAX_RUNS) for name in names
    ]
    with supervise(*consumers):
        delay = 0.5 if payload is None else 0.0
        spoiled = [publisher.put(name, payload or {}, delay=delay) for name in names[1:]]
        spoil(conn, table, event)
        later, now = publisher.put("good", delay=1.0), publisher.put("good")
        eventually(lambda: {now, later} <= set(journal.finished()))
        conn.execute("drop function spoil() cascade")
        conn.execute("update scheduled set run_at = now()")
        eventually(lambda: all_ended(admin), within=30.0)
    assert all(job.failures for job in admin.find()), "a rejection is not explained"
    runs = {job_id: len(journal.runs_of(job_id)) for job_id in spoiled}
    assert max(runs.values()) <= MAX_RUNS, "a run was not charged"


@pytest.mark.parametrize("table", ["scheduled", "leases"])
def test_refused_work_with_no_job_to_blame_waits(
    database_url: str, conn: Connection, table: str
) -> None:
    """Let a trigger of the statement refuse the work, although there is no row to work on."""
    conn.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        "  raise 'refused' using errcode = '42501'; end $$;"
        f"create trigger refuse before delete on {table} for each statement"
        "  execute function refuse()",
        prepare=False,
    )
    session, now = DatabaseSession(Database(database_url, SCHEMA)), 1000.0
    session.run_due(now)
    scheduler, rescuer = Scheduler(session), Rescuer(session, SupervisorOptions())
    scheduler.on_due_notification(now)
    rescuer.on_heartbeat(Heartbeat(None, {}, locked=True), now)
    service: Service = scheduler if table == "scheduled" else rescuer
    service.run_due(now)
    next_due, troubles = service.next_due(), session.troubles.sentences()
    session.close()
    assert next_due > now
    assert ["refused" in sentence for sentence in troubles] == [True]


def all_ended(admin: Admin) -> bool:
    """Return whether every job is gone or rejected."""
    return all(job.state == State.REJECTED for job in admin.find())
