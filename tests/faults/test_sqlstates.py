"""Errors of every class, injected at every statement: other queues and the schedule go on."""

from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT

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
    runs = {job_id: len(journal.runs_of(job_id)) for job_id in spoiled}
    assert max(runs.values()) <= MAX_RUNS, "a run was not charged"


def all_ended(admin: Admin) -> bool:
    """Return whether every job is gone or rejected."""
    return all(job.state == State.REJECTED for job in admin.find())
