"""All settings that a role, a database or the environment may bring have odd values: jobs run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskmaster import Admin, Consumer, DatabaseUnreachable, Publisher, State
from taskmaster.store.connection import (
    Connection,
    connect,
    connect_user,
    connect_worker,
    reset_session,
)
from taskmaster.store.faults import Fault, fault_of
from tests.support import Gates, Journal, Server, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.odd_settings import (
    ALONE,
    TIMEOUTS,
    Setting,
    as_options,
    environment,
    odd_settings,
    settings_of,
)

ROLE = "taskmaster_test_odd"
Delivery = Literal["at_least_once", "at_most_once", "transactional"]
DELIVERIES: tuple[Delivery, ...] = get_args(Delivery)
ROUNDS = 3
SOURCES = ("role", "database", "environment")
TOLERANCE = timedelta(seconds=30)
TEXT = "Ängström 🚀 \\ ' %s"


class Place(NamedTuple):
    """An empty database, and the URL of a role that is no superuser and may create a schema."""

    admin_url: str
    url: str
    database: str


@pytest.fixture
def place(server: Server, empty_database_url: str) -> Iterator[Place]:
    database = str(conninfo_to_dict(empty_database_url)["dbname"])
    server.execute("create role {} login", ROLE)
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("create access method odd_heap type table handler heap_tableam_handler")
    server.execute("grant create on database {} to {}", database, ROLE)
    parts: dict[str, Any] = dict(conninfo_to_dict(empty_database_url))
    parts.pop("fallback_application_name", None)  # else it would be an embedded server's
    url = make_conninfo(**{**parts, "user": ROLE})
    try:
        yield Place(empty_database_url, url, database)
    finally:
        server.execute("drop owned by {} cascade", ROLE)
        with psycopg.connect(empty_database_url, autocommit=True) as conn:
            conn.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(ROLE)))
            conn.execute("drop access method odd_heap")
        server.execute("drop role {}", ROLE)


@pytest.fixture
def settings(place: Place) -> list[Setting]:
    with psycopg.connect(place.admin_url) as conn:
        return odd_settings(conn)


@pytest.mark.parametrize("source", range(len(SOURCES)))
@pytest.mark.parametrize("number", range(ROUNDS))
def test_jobs_run_whatever_all_settings_are(
    place: Place,
    settings: list[Setting],
    supervise: Supervise,
    journal: Journal,
    gates: Gates,
    number: int,
    source: int,
) -> None:
    """Give each setting one of its values, by one of the sources: all by each in three tests."""
    values: dict[str, list[tuple[str, str]]] = {name: [] for name in SOURCES}
    for index, setting in enumerate(settings):
        if setting.name in ALONE:
            continue
        chosen = SOURCES[(index + source) % 3]
        if setting.context == "superuser" and chosen == "environment":
            chosen = "role"
        value = setting.values[(number * 3 + source) % len(setting.values)]
        values[chosen].append((setting.name, value))
    expect_jobs_to_run(place, values, supervise, journal, gates)


# What taskmaster's own sessions rely on. The quotes are those of quote_all_identifiers.
RELIED_ON = {
    "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC", "array_nulls": "on",
    "bytea_output": "hex", "check_function_bodies": "on", "client_encoding": "UTF8",
    "client_min_messages": "warning", "default_table_access_method": "heap",
    "default_transaction_deferrable": "off", "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off", "exit_on_error": "off", "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0", "jit": "off",
    "lock_timeout": "10s", "restrict_nonsystem_relation_kind": "", "row_security": "off",
    "search_path": '"taskmaster", pg_temp', "standard_conforming_strings": "on",
    "statement_timeout": "1min", "transaction_timeout": "0", "transform_null_equals": "off",
}  # fmt: skip
# Settings that a connection of callbacks does not leave as plain psycopg would have them.
BOUNDED_FOR_CALLBACKS = {
    "application_name", "client_encoding", "default_transaction_isolation",
    "default_transaction_read_only", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout",
    "transaction_timeout",
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_own_session_has_all_it_relies_on(
    place: Place, settings: list[Setting], source: str
) -> None:
    odd = all_odd(settings, source, timeout="1ms")
    with by_source(place, {source: odd}):
        for connect_own in (connect, connect_worker):
            with connect_own(place.url, "taskmaster") as conn:
                found = settings_in(conn, "current_setting(name)")
            assert {name: found[name] for name in RELIED_ON} == RELIED_ON
            assert found["synchronous_commit"] != "off"


@pytest.mark.parametrize("source", SOURCES)
def test_session_of_callbacks_is_as_the_role_has_it(
    place: Place, settings: list[Setting], source: str
) -> None:
    with by_source(place, {source: all_odd(settings, source, timeout="1min")}):
        with psycopg.connect(place.url, autocommit=True) as plain:
            expected = settings_in(plain)
        with connect_user(place.url, "taskmaster") as conn:
            fresh = settings_in(conn)
            conn.execute("set timezone = 'UTC'; set statement_timeout = '7s'", prepare=False)
            reset_session(conn)
            assert settings_in(conn) == fresh
    differing = {name for name in expected if expected[name] != fresh[name]}
    assert differing <= BOUNDED_FOR_CALLBACKS
    assert fresh["statement_timeout"] == "60000"


@pytest.mark.parametrize("source", ["role", "database"])
def test_setting_that_cannot_be_set_is_refused_by_name(place: Place, source: str) -> None:
    with (
        by_source(place, {source: [("session_replication_role", "replica")]}),
        pytest.raises(DatabaseUnreachable, match='"session_replication_role": reset it for') as why,
    ):
        connect(place.url, "taskmaster")
    assert fault_of(why.value) is Fault.REFUSED


def all_odd(settings: list[Setting], source: str, *, timeout: str) -> list[tuple[str, str]]:
    """Return the first odd value of each setting that this source may bring.

    Where that is the one that taskmaster relies on, the default is odd.
    """
    contexts = ("user",) if source == "environment" else ("user", "superuser")
    return [
        (name, timeout if name in TIMEOUTS else values[0])
        for name, context, values in settings
        if context in contexts
        and name != "session_replication_role"
        and values[0] != RELIED_ON.get(name)
    ]


def settings_in(conn: Connection, value: str = "setting") -> dict[str, str]:
    query = (
        f"select name, {value} from pg_settings"
        " where context in ('user', 'superuser') and name !~ '[.]|^transaction_[^t]'"
    )
    return dict(conn.execute(query, prepare=False).fetchall())


@contextmanager
def by_source(place: Place, values: Mapping[str, list[tuple[str, str]]]) -> Iterator[None]:
    """Let each source bring its settings."""
    with (
        settings_of(place.admin_url, "role", ROLE, values.get("role", [])),
        settings_of(place.admin_url, "database", place.database, values.get("database", [])),
        environment({"PGOPTIONS": as_options(values.get("environment", []))}),
    ):
        yield


def expect_jobs_to_run(
    place: Place,
    values: Mapping[str, list[tuple[str, str]]],
    supervise: Supervise,
    journal: Journal,
    gates: Gates,
) -> None:
    """Fail unless jobs are put, run, settled, listed and promoted as they would be otherwise."""
    consumers = [
        Consumer(name, callback=ACT, delivery=name, retry_base_seconds=0.01) for name in DELIVERIES
    ]
    with (
        by_source(place, values),
        Publisher(place.url) as publisher,
        Admin(place.url) as admin,
        supervise(*consumers, url=place.url),
    ):
        began = datetime.now(UTC)
        put = [put_jobs(place.url, name, publisher) for name in DELIVERIES]
        eventually(lambda: {jobs.held for jobs in put} <= set(journal.began()))
        expect_running(admin, [jobs.held for jobs in put])
        gates.open()
        for jobs in put:
            expect_results(jobs, admin, journal, began)
    assert access_methods(place.admin_url) == {"heap"}


def access_methods(url: str) -> set[str]:
    """Return how taskmaster's tables are stored."""
    query = (
        "select amname from pg_class join pg_am on pg_am.oid = relam"
        " where relkind = 'r' and relnamespace = 'taskmaster'::regnamespace"
    )
    with psycopg.connect(url) as conn:
        return {name for (name,) in conn.execute(query).fetchall()}


class Put(NamedTuple):
    """The ids of the jobs in one queue, by what becomes of them."""

    held: int
    acked: list[int]
    twice: list[int]
    rejected: int
    later: int
    delayed: int


def put_jobs(url: str, queue: str, publisher: Publisher) -> Put:
    """Put jobs in every way, by taskmaster's sessions and by one that is as the role has it."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.read_only = False
        with conn.transaction():
            row = conn.execute("select taskmaster.put(%s, '1', null, 3)", (queue,)).fetchone()
            by_sql = [row[0] if row else 0, publisher.put(queue, "plain", connection=conn)]
            by_sql += publisher.put_many(queue, ["plain"], delay=0.2, connection=conn)
    return Put(
        held=publisher.put(queue, {"do": "hold"}, priority=0),
        acked=[
            *by_sql,
            *publisher.put_many(queue, [{"text": TEXT}, {"text": TEXT}]),
            *publisher.put_many(queue, [{}], delay=0.2),
            publisher.put(queue, delay=0.2),
        ],
        twice=[
            publisher.put(queue, {"do": "snooze_once"}),
            publisher.put(queue, {"do": "raise_once"}),
        ],
        rejected=publisher.put(queue, {"do": "reject", "reason": TEXT}),
        later=publisher.put(queue, {"do": "retry", "seconds": 3600, "reason": TEXT}),
        delayed=publisher.put(queue, {"text": TEXT}, headers={"text": TEXT}, delay=3600),
    )


def expect_running(admin: Admin, held: list[int]) -> None:
    """Fail unless lists and heartbeats show these jobs as running."""
    eventually(lambda: {run.job_id for run in admin.running()} == set(held))
    leased = sorted(held)[:2]  # a transactional job has no lease
    eventually(lambda: sorted(job.id for job in admin.find(state=State.RUNNING)) == leased)
    assert [one.silent_seconds < 30 for one in admin.supervisors()] == [True]


def is_left(admin: Admin, queue: str, kept: set[int]) -> bool:
    """Assert that these jobs are left, so that a failure shows which others are."""
    left = [job for job in admin.find(queue_name=queue) if job.id not in kept]
    assert left == []
    return {job.id for job in admin.find(queue_name=queue)} == kept


def expect_results(jobs: Put, admin: Admin, journal: Journal, began: datetime) -> None:
    """Fail unless each job has run as often as it should, and is where it should be."""
    queue = admin.get(jobs.delayed).queue_name
    is_once = queue == "at_most_once"  # its jobs are rejected where others run again
    again = jobs.twice if is_once else []
    eventually(lambda: is_left(admin, queue, {jobs.rejected, jobs.later, jobs.delayed, *again}))
    runs = Counter(journal.finished())
    assert {runs[job_id] for job_id in (jobs.held, jobs.rejected, jobs.later, *jobs.acked)} == {1}
    assert {runs[job_id] for job_id in jobs.twice} == {1 if is_once else 2}
    rejected, later, delayed = map(admin.get, (jobs.rejected, jobs.later, jobs.delayed))
    assert (rejected.state, rejected.failures[-1].message) == (State.REJECTED, TEXT)
    assert TEXT in later.failures[-1].message
    assert delayed.payload == delayed.headers == {"text": TEXT}
    for job in (rejected, later, delayed):
        assert abs(job.created_at - began) < TOLERANCE
    for job in (delayed,) if is_once else (later, delayed):
        assert job.run_at is not None
        assert abs(job.run_at - began - timedelta(hours=1)) < TOLERANCE
