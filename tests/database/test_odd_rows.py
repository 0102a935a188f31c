"""Rows that SQL puts and Python would refuse go through every reader, and spoil no other row."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskmaster import InvalidPayload, Publisher, State
from taskmaster.settlement import Settlement
from taskmaster.store import jobs, leases, supervisors, transactions
from taskmaster.store.connection import Connection, connect, connect_user, connect_worker
from taskmaster.store.cursor import Cursor
from taskmaster.store.loaders import decode_json, load_json
from taskmaster.store.stats import queue_stats
from tests.support.store import SCHEMA, beat, claimed, put, register, rescue

TABLES = ("ready", "scheduled", "rejected")
TIMES = ["infinity", "-infinity", "290000-01-01", "10000-01-01", "4713-01-01 BC", "0001-01-01 BC",
         "0001-01-01", "9999-12-31 23:59:59.999999-14", "2024-02-29 12:00+05:30"]  # fmt: skip
COUNTS = [0, 1, 32_766, 32_767, -32_768]
NUMBERS = ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890",
           "1e999", "9" * 5_000, "0.1", "-0"]  # fmt: skip
POSITIONS = [None, 0, -5, 2**63 - 1]  # None: the next one
TEXTS = ['"\\ud800"', "[" * 3_000 + "]" * 3_000, '{"a": 1, "a": 2}', "null", '"é🚀"', "[1, 2]"]


@st.composite
def rows(draw: Callable[[Any], Any]) -> dict[str, Any]:
    payload = draw(st.sampled_from([*NUMBERS, *TEXTS]))
    return {
        "created_at": draw(st.sampled_from(TIMES)),
        "at": draw(st.sampled_from(TIMES)),
        "position": draw(st.sampled_from(POSITIONS)),
        "run_count": draw(st.sampled_from(COUNTS)),
        "crashes": draw(st.sampled_from(COUNTS)),
        "rescues": draw(st.sampled_from(COUNTS)),
        "payload": payload,
        "headers": draw(st.sampled_from([None, payload, "5", "{}"])),
        "failures": draw(st.sampled_from([None, "1", "[]", '[{"at": 5}, 7]', '{"cause": []}'])),
    }


def insert(conn: Connection, table: str, row: dict[str, Any]) -> int:
    """Insert a job into a table as a person with psql would, and return its id."""
    at = {"ready": "ready_at", "scheduled": "run_at", "rejected": "rejected_at"}[table]
    more, value = "", ""
    if table == "ready":
        more, value = ", position", ", coalesce(%(position)s, nextval('positions'))"
    found = conn.execute(
        f"insert into {table} (id, queue_name, priority, created_at, {at}, run_count, crashes,"
        f"   rescues, payload, headers, failures{more})"
        " values (nextval('job_ids'), 'q', 0, %(created_at)s, %(at)s, %(run_count)s, %(crashes)s,"
        "   %(rescues)s, %(payload)s::json, %(headers)s::json, %(failures)s::jsonb"
        f"   {value}) returning id",
        row,
    ).fetchone()
    assert found is not None
    return int(found[0])


@given(odd=st.lists(st.tuples(st.sampled_from(TABLES), rows()), min_size=1, max_size=4))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_odd_rows_pass_every_reader(
    database_url: str, odd: list[tuple[str, dict[str, Any]]]
) -> None:
    with (
        connect(database_url, SCHEMA) as conn,
        connect_worker(database_url, SCHEMA) as hot,
        connect_user(database_url, SCHEMA) as user_conn,
    ):
        conn.execute("truncate ready, scheduled, rejected, leases, supervisors")
        expected = {insert(conn, table, row) for table, row in odd}
        plain = put(conn)
        assert {record.id for record in jobs.find(conn, queue_name="q", state=None, most=99)} == {
            *expected, plain
        }  # fmt: skip
        assert all(jobs.get(conn, job_id) is not None for job_id in expected)
        assert sum(count.jobs for count in jobs.counts(conn)) == len(expected) + 1
        assert queue_stats(conn, ["q"])["q"].jobs["ready"] >= 1
        supervisor = register(conn)
        assert beat(conn, supervisor) is not None
        with user_conn.transaction(force_rollback=True):
            assert transactions.claim_one(user_conn, SCHEMA, "q", Cursor()) is not None
        jobs.promote(conn)
        jobs.requeue_queue(conn, "q")
        settle_badly(hot, supervisor)
        assert rescue(conn, supervisor, given_up=True) >= 0
        left = jobs.find(conn, queue_name="q", state=None, most=99)
        assert {record.id for record in left} == {*expected, plain}


def settle_badly(conn: Connection, supervisor: int) -> None:
    """Claim all jobs and let each fail, at whatever counts it has, except for one that is left."""
    lease = claimed(conn, supervisor=supervisor)
    chosen = [
        Settlement(job.id, State.REJECTED, charged=True, crashed=True) for job in lease.jobs[1:]
    ]
    released = [Settlement(lease.jobs[0].id, State.READY)]
    assert leases.settle(conn, lease.token, [*chosen, *released])
    conn.execute("update ready set rescues = 32767")
    claimed(conn, supervisor=supervisor)


@pytest.mark.parametrize("number", [text for text in NUMBERS if text.lstrip("-").isdigit()])
def test_integers_of_any_length_are_read_exactly(number: str) -> None:
    if len(number) < 4_300:  # Python reads no longer ones
        assert decode_json(number) == int(number)
        assert load_json(number) == int(number)
    else:
        assert load_json(number) == number


def test_an_infinite_heartbeat_of_another_spoils_no_heartbeat(conn: Connection) -> None:
    one, other = register(conn), register(conn)
    conn.execute("update supervisors set heartbeat_at = '-infinity' where id = %s", [other])
    heartbeat = beat(conn, one)
    assert heartbeat is not None
    assert set(heartbeat.others) == {other}
    assert len(supervisors.find(conn)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        "'q', jsonb_build_object('a', 1)",
        "'q', json_build_object('a', 1), json_build_object('b', 2)",
        "'q', '{\"a\": 1}'",
        "'q'::varchar, '1', null, 2::bigint",
        "'q', '1', '{}', 2::smallint, 0::numeric",
        "'q', '1'::jsonb, delay_seconds => 0.5::numeric",
        "'q', to_jsonb('text'::text), priority => 9",
    ],
)
def test_put_by_sql_takes_what_triggers_have(conn: Connection, arguments: str) -> None:
    row = conn.execute(f"select put({arguments})").fetchone()
    assert row is not None
    assert jobs.get(conn, row[0]) is not None


@pytest.mark.parametrize("delay", ["'infinity'", "'nan'", "1e12", "316224001"])
def test_put_by_sql_refuses_a_time_that_never_comes(conn: Connection, delay: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ten years"):
        conn.execute(f"select put('q', '1', delay_seconds => {delay})")


def test_payload_beyond_64_bits_is_refused_by_put(publisher: Publisher) -> None:
    with pytest.raises(InvalidPayload, match="64-bit"):
        publisher.put("q", {"n": 2**70})
