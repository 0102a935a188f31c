"""The hot statements keep their plans whatever the statistics say. A changed plan stops a queue."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskmaster.store.connection import Connection
from taskmaster.store.cursor import PRIORITIES, TOPS
from taskmaster.store.statements import statement
from taskmaster.store.supervisors import HeartbeatReport
from tests.support.store import claimed, put_many

DEAD_ROWS = 50_000


def never_analyzed(conn: Connection) -> None:
    put_many(conn, 100)


def empty_and_analyzed(conn: Connection) -> None:
    conn.execute("analyze")
    put_many(conn, 100)


def dead_rows_and_analyzed(conn: Connection) -> None:
    """Put many dead rows in front, which the statistics may count or not."""
    conn.execute("alter table ready set (autovacuum_enabled = off)")
    put_many(conn, DEAD_ROWS)
    conn.execute("delete from ready")
    conn.execute("analyze")
    put_many(conn, 100)


def full_and_analyzed(conn: Connection) -> None:
    put_many(conn, DEAD_ROWS)
    conn.execute("analyze")


CONDITIONS = [never_analyzed, empty_and_analyzed, dead_rows_and_analyzed, full_and_analyzed]
Plan = dict[str, Any]


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explained(conn: Connection, name: str, parameters: dict[str, Any]) -> list[Plan]:
    """Return the nodes of the plan that the statement has in this session."""
    cursor = conn.execute(b"explain (format json) " + statement(name), parameters, prepare=False)
    row = cursor.fetchone()
    assert row is not None
    plan = json.loads(row[0]) if isinstance(row[0], bytes | str) else row[0]
    return list(nodes(plan[0]["Plan"]))


def claim_parameters() -> dict[str, Any]:
    return {
        "priorities": PRIORITIES, "lows": [-1] * 10, "highs": TOPS, "batch": 100,
        "supervisor": 1, "worker": "w", "queue_name": "q",
        "once": False, "durable": False, "done": uuid4(),
    }  # fmt: skip


def settle_parameters(conn: Connection) -> dict[str, Any]:
    lease = claimed(conn, batch=10)
    ids = [row.id for row in lease.jobs]
    many = len(ids)
    return {
        "token": lease.token, "ids": ids, "states": ["rejected"] * many, "charges": [1] * many,
        "crashes": [0] * many, "delays": [0.0] * many, "failures": ["{}"] * many,
    }  # fmt: skip


def scans(plan: list[Plan], table: str) -> list[str]:
    return [
        node["Node Type"]
        for node in plan
        if node.get("Relation Name") == table and "Scan" in node["Node Type"]
    ]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_claim_walks_the_order_index_and_deletes_by_ctid(
    conn: Connection, hot: Connection, condition: Callable[[Connection], None]
) -> None:
    condition(conn)
    plan = explained(hot, "leases/claim", claim_parameters())
    assert sorted(scans(plan, "ready")) == ["Index Scan", "Tid Scan"]
    assert [
        node["Index Name"]
        for node in plan
        if node.get("Relation Name") == "ready" and "Index Name" in node
    ] == ["ready_order"]
    assert not any(
        node["Node Type"] == "Sort" for node in plan if node.get("Parent Relationship") == "Outer"
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_horizon_walks_the_order_index(
    conn: Connection, hot: Connection, condition: Callable[[Connection], None]
) -> None:
    condition(conn)
    parameters = {
        "queue_name": "q", "priorities": PRIORITIES, "lows": [-1] * 10, "settled": 1000,
        "held_priorities": [0, 5], "held_positions": [7, 9], "most_held": 65,
    }  # fmt: skip
    plan = explained(hot, "leases/horizon", parameters)
    assert [node.get("Index Name") for node in plan if node.get("Relation Name") == "ready"] == [
        "ready_order", "ready_order",
    ]  # fmt: skip
    assert "Seq Scan" not in scans(plan, "ready")


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", ["leases/ack", "leases/settle"])
def test_settle_finds_the_lease_by_its_token(
    conn: Connection, hot: Connection, condition: Callable[[Connection], None], name: str
) -> None:
    condition(conn)
    parameters = settle_parameters(conn) if name == "leases/settle" else {"token": uuid4()}
    plan = explained(hot, name, parameters)
    assert scans(plan, "leases") == ["Index Scan"]
    assert scans(plan, "ready") == []


@pytest.mark.parametrize("condition", [full_and_analyzed])
def test_one_job_among_many_is_found_by_an_index(
    conn: Connection, condition: Callable[[Connection], None]
) -> None:
    condition(conn)
    plan = explained(conn, "jobs/get", {"id": 25_000})
    assert "ready_id" in [node.get("Index Name") for node in plan]
    assert "Seq Scan" not in scans(plan, "ready")


def test_heartbeat_and_promotion_read_the_index_of_due_jobs(
    conn: Connection,
) -> None:
    conn.execute(
        "insert into scheduled (queue_name, payload, run_at)"
        " select 'q', '{}', clock_timestamp() + interval '1 hour' from generate_series(1, 20000)"
    )
    conn.execute("analyze")
    for name, parameters in (
        ("jobs/promote", {"most": 1000, "skipped": [], "only": None}),
        (
            "supervisors/heartbeat",
            {
                **HeartbeatReport(idle=True, idle_ms=1000)._asdict(),
                "running": "[]",
                "supervisor": 1,
            },
        ),
    ):
        plan = explained(conn, name, parameters)
        assert "scheduled_due" in [node.get("Index Name") for node in plan]
        assert "Seq Scan" not in scans(plan, "scheduled")


def test_names_of_unserved_queues_are_found_by_an_index(conn: Connection) -> None:
    full_and_analyzed(conn)
    parameters = {"also_served": [], "most": 10, "most_queues": 10}
    plan = explained(conn, "stats/unserved", parameters)
    assert set(scans(plan, "ready")) == {"Index Only Scan"}


def test_worker_connections_have_pinned_plans(hot: Connection) -> None:
    assert hot.execute("show plan_cache_mode").fetchone() == ("force_generic_plan",)
    assert hot.execute("show enable_seqscan").fetchone() == ("off",)
