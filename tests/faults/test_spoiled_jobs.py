"""A job that the database refuses to claim or to end does not keep its queue from the others."""

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.consumer import DELIVERIES, Delivery
from taskmaster.store.connection import Connection
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.queues import is_drained

MARKED = {
    "ready": "old.payload::jsonb ? 'spoiled'",
    "rejected": "old.payload::jsonb ? 'spoiled'",
    "leases": "exists (select from unnest(old.payloads) p where p::jsonb ? 'spoiled')",
}
# A trigger: when, and of which statement. The deferred one refuses the commit.
TRIGGERS = {
    "statement": "create trigger spoil before {event} on {table}",
    "commit": "create constraint trigger spoil after {event} on {table} initially deferred",
}


def spoil(conn: Connection, table: str, event: str, kind: str, code: str = "'P0001'") -> None:
    """Let the database refuse this event for rows of spoiled jobs, with the code in SQL."""
    row = "old" if event == "delete" else "new"
    marked = MARKED[table].replace("old.", f"{row}.")
    trigger = TRIGGERS[kind].format(event=event, table=table)
    conn.execute(
        "create function spoil() returns trigger language plpgsql as $$ begin"
        f"  if {marked} then raise 'spoiled' using errcode = {code}; end if;"
        f"  return {row}; end $$;"
        f"{trigger} for each row execute function spoil()",
        prepare=False,
    )


@pytest.mark.parametrize(
    ("table", "event", "kind"),
    [
        ("ready", "delete", "statement"),
        ("ready", "delete", "commit"),
        ("leases", "insert", "statement"),
        ("leases", "delete", "commit"),
    ],
)
def test_spoiled_job_does_not_stop_its_own_queue(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    conn: Connection,
    journal: Journal,
    table: str,
    event: str,
    kind: str,
) -> None:
    spoil(conn, table, event, kind)
    consumers = [
        Consumer(name, callback=ACT, delivery=name, retry_base_seconds=0.01) for name in DELIVERIES
    ]
    bad = [publisher.put(name, {"spoiled": True}) for name in DELIVERIES]
    good = [job_id for name in DELIVERIES for job_id in publisher.put_many(name, [{}] * 3)]
    with supervise(*consumers):
        eventually(lambda: set(good) <= set(journal.finished()))
        good.append(publisher.put("transactional"))
        eventually(lambda: good[-1] in journal.finished())
        conn.execute("drop function spoil() cascade")
        eventually(lambda: is_drained(admin))
        eventually(lambda: conn.execute("select from leases").fetchall() == [])
    runs = {job_id: len(journal.runs_of(job_id)) for job_id in bad}
    assert [len(journal.runs_of(job_id)) for job_id in good] == [1] * len(good)
    assert set(runs.values()) <= {1, 2}, "a run that could not be ended is charged"


# One of each class that means more than one job if no trigger has raised it.
CODES = ["08006", "0A000", "25006", "28000", "40001", "42501", "42P01", "53100", "55P03", "57014"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("table", ["ready", "rejected"])
def test_code_of_a_trigger_does_not_matter(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    conn: Connection,
    journal: Journal,
    table: str,
) -> None:
    """A broken trigger for one job raises any code, such as that of a missing table.

    Each queue is named after its code.
    """
    event, row = ("delete", "old") if table == "ready" else ("insert", "new")
    spoil(conn, table, event, "statement", f"right({row}.queue_name, 5)")
    deliveries: list[Delivery] = ["at_least_once", "transactional"]
    consumers = [
        Consumer(f"{delivery} {code}", callback=ACT, delivery=delivery)
        for delivery in deliveries
        for code in CODES
    ]
    with supervise(*consumers):
        names = [consumer.queue_name for consumer in consumers]
        for name in names:
            publisher.put(name, {"spoiled": True, "do": "reject"})
        good = [job_id for name in names for job_id in publisher.put_many(name, [{}] * 3)]
        eventually(lambda: set(good) <= set(journal.finished()), within=40.0)
        conn.execute("drop function spoil() cascade")
        conn.execute("update scheduled set run_at = now()")  # a run that is charged comes later
        eventually(lambda: states(admin) == [State.REJECTED] * len(names), within=40.0)


def states(admin: Admin) -> list[State]:
    return [job.state for job in admin.find()]
