"""Put: a payload arrives unchanged, in any transaction, by any role."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from taskmaster import Admin, InvalidPayload, JobNotFound, Publisher, State
from tests.support import Server
from tests.support.store import put, states

NASTY = [
    "tab\there",
    "line\nend\r\n",
    "back\\slash \\N \\. \\t \\\\",
    "quotes ' \" `",
    "'; drop table ready; --",
    "{json} %s %(name)s",
    "Ünïcödé 🦀 漢字",
    "\u2028\u0001\u007f",
    "semi;colon.dots",
]
NASTY_NAMES = [*NASTY, "\\N", "a" * 200, " padded "]

text_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
number_values = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | number_values | text_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text_values, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("text", NASTY)
def test_a_payload_with_characters_of_copy_arrives_unchanged(
    publisher: Publisher, admin: Admin, text: str
) -> None:
    payload = {"text": text, text: [text]}
    one = publisher.put("q", payload, headers={text: text})
    (other,) = publisher.put_many("q", [payload], headers={text: text})
    for job_id in (one, other):
        record = admin.get(job_id)
        assert record.payload == payload
        assert record.headers == {text: text}


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_a_queue_name_is_a_value_and_never_sql(
    publisher: Publisher, admin: Admin, name: str
) -> None:
    one = publisher.put(name, 1)
    (other,) = publisher.put_many(name, [2])
    (later,) = publisher.put_many(name, [3], delay=60)
    assert [record.id for record in admin.find(queue_name=name)] == [one, other, later]
    assert {count.queue_name for count in admin.counts()} == {name}
    assert admin.delete_queue(name) == 3


def test_any_json_arrives_unchanged(database_url: str) -> None:
    with Publisher(database_url) as publisher, Admin(database_url) as admin:

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(json_values)
        def comes_back(payload: Any) -> None:
            one = publisher.put("q", payload)
            (other,) = publisher.put_many("q", [payload])
            assert admin.get(one).payload == payload
            assert admin.get(other).payload == payload

        comes_back()


def test_put_many_returns_ids_in_the_order_of_the_payloads(
    publisher: Publisher, admin: Admin
) -> None:
    ids = publisher.put_many("q", ({"n": n} for n in range(6_000)))  # more than a chunk
    assert ids == sorted(ids)
    assert len(set(ids)) == 6_000
    for n in (0, 4_999, 5_000, 5_999):
        assert admin.get(ids[n]).payload == {"n": n}


def test_put_many_of_nothing_puts_nothing(publisher: Publisher, admin: Admin) -> None:
    assert publisher.put_many("q", []) == []
    assert admin.find() == []


def test_one_bad_payload_among_many_is_named_and_none_is_put(
    publisher: Publisher, admin: Admin
) -> None:
    with pytest.raises(InvalidPayload, match="payload 7000"):
        publisher.put_many("q", [*[1] * 7_000, {"x": object()}])
    assert admin.find() == []
    assert publisher.put("q", 1)  # the connection still works


def test_a_put_is_rolled_back_with_the_callers_transaction(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    with psycopg.connect(database_url) as own:
        one = publisher.put("q", 1, connection=own)
        many = publisher.put_many("q", [1, 2], connection=own)
        later = publisher.put("q", 1, delay=60, connection=own)
        assert admin.find() == []  # not before the commit
        own.rollback()
    for job_id in (one, *many, later):
        with pytest.raises(JobNotFound):
            admin.get(job_id)


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_put_is_committed_with_the_callers_transaction(
    publisher: Publisher, admin: Admin, database_url: str, autocommit: bool
) -> None:
    with psycopg.connect(database_url, autocommit=autocommit, row_factory=dict_row) as own:
        own.execute("set search_path to pg_catalog")
        ids = [
            publisher.put("q", 1, connection=own),
            *publisher.put_many("q", [2, 3], connection=own),
        ]
        ids += publisher.put_many("q", [4], delay=60, connection=own)
    assert [record.id for record in admin.find()] == ids


def test_a_put_does_not_change_the_callers_session(publisher: Publisher, database_url: str) -> None:
    asked = (
        "select current_setting(name) from unnest(array['search_path', 'lock_timeout', 'jit']) name"
    )
    with psycopg.connect(database_url, autocommit=True) as own:
        before = own.execute(asked).fetchall()
        publisher.put("q", 1, connection=own)
        publisher.put_many("q", [2], connection=own)
        assert own.execute(asked).fetchall() == before
        assert own.autocommit


def test_a_failed_put_many_leaves_the_callers_transaction_usable(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    with psycopg.connect(database_url) as own:
        kept = publisher.put("q", 1, connection=own)
        with pytest.raises(InvalidPayload):
            publisher.put_many("q", [2, object()], connection=own)
        own.commit()
    assert [record.id for record in admin.find()] == [kept]


def test_a_role_with_few_rights_can_put(
    publisher: Publisher, admin: Admin, database_url: str, server: Server
) -> None:
    publisher.put("q", 0)
    role = f"{server.prefix}_app"
    name = psycopg.sql.Identifier(role)
    with psycopg.connect(database_url, autocommit=True) as own:
        own.execute(psycopg.sql.SQL("create role {}").format(name))
        try:
            for right in (
                "usage on schema taskmaster",
                "insert, select on all tables in schema taskmaster",
                "usage, select on all sequences in schema taskmaster",
            ):
                own.execute(psycopg.sql.SQL("grant {} to {}").format(psycopg.sql.SQL(right), name))
            own.execute(psycopg.sql.SQL("set role {}").format(name))
            ids = [
                publisher.put("q", 1, connection=own),
                *publisher.put_many("q", [2], connection=own),
            ]
            ids.append(publisher.put("q", 3, delay=60, connection=own))
            own.execute("reset role")
        finally:
            own.execute(psycopg.sql.SQL("drop owned by {}").format(name))
            own.execute(psycopg.sql.SQL("drop role {}").format(name))
    assert [record.payload for record in admin.find()] == [0, 1, 2, 3]


def test_a_delayed_job_is_due_by_the_databases_clock(
    publisher: Publisher, admin: Admin, conn: psycopg.Connection[Any]
) -> None:
    ids = [publisher.put("q", 1, delay=3600), *publisher.put_many("q", [2], delay=3600)]
    for job_id in ids:
        record = admin.get(job_id)
        assert record.state == State.SCHEDULED
        assert record.run_at is not None
        ahead = conn.execute(
            "select extract(epoch from %s - clock_timestamp())::float8", (record.run_at,)
        ).fetchone()
        assert ahead is not None
        assert 3590 < ahead[0] <= 3600


def test_the_callers_time_zone_does_not_shift_the_due_time(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    with psycopg.connect(database_url) as own:
        own.execute("set timezone to 'Pacific/Chatham'; set datestyle to 'SQL, DMY'")
        (job_id,) = publisher.put_many("q", [1], delay=3600, connection=own)
    record = admin.get(job_id)
    assert record.run_at is not None
    assert 3500 < (record.run_at - record.created_at).total_seconds() < 3700


def test_a_trigger_puts_a_job_in_its_own_transaction(
    conn: psycopg.Connection[Any], admin: Admin
) -> None:
    conn.execute(
        """
        create schema shop;
        create table shop.orders (id int);
        create function shop.ordered() returns trigger language plpgsql as $$
        begin
          perform taskmaster.put('mails', jsonb_build_object('order', new.id)::json, null, 3);
          return null;
        end $$;
        create trigger ordered after insert on shop.orders
          for each row execute function shop.ordered();
        set search_path to shop;
    """,
        prepare=False,
    )
    with conn.transaction(force_rollback=True):
        conn.execute("insert into orders values (1)")
    conn.execute("insert into orders values (2)")
    (record,) = admin.find()
    assert (record.queue_name, record.payload, record.priority) == ("mails", {"order": 2}, 3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("taskmaster.put('', '{}')", "a queue name must have 1 to 200 characters, got 0"),
        (
            "taskmaster.put(repeat('x', 201), '{}')",
            "a queue name must have 1 to 200 characters, got 201",
        ),
        (
            "taskmaster.put('q', '{}', null, 10)",
            "a priority must be from 0 \\(first\\) to 9, got 10",
        ),
        ("taskmaster.put('q', null)", "a payload must not be SQL null"),
        ("taskmaster.put('q', '{broken')", "invalid input syntax for type json"),
        ("taskmaster.put(null, '{}')", "a queue name must have 1 to 200 characters, got null"),
        (
            "taskmaster.put('q', '{}', null, null)",
            "a priority must be from 0 .first. to 9, got null",
        ),
    ],
)
def test_bad_input_by_sql_is_refused_with_a_sentence(
    conn: psycopg.Connection[Any], call: str, sentence: str
) -> None:
    with pytest.raises(psycopg.Error, match=sentence):
        conn.execute(f"select {call}")
    assert states(conn) == {}


def test_puts_from_many_connections_never_share_an_id(connection: Callable[[], Any]) -> None:
    first, second = connection(), connection()
    with first.transaction(), second.transaction():
        ids = [put(first), put(second), put(first), put(second)]
    assert len(set(ids)) == 4
