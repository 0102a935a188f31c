"""Supervisors that others take for lost: what they still write, and when their jobs are rescued."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State, SupervisorOptions
from taskmaster.processes.supervisor.database.failure_detector import GIVEN_UP_FACTOR
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.project import Project, project

AFFECT = "tests.support.transactional_callbacks:act"
GONE_AFTER_SECONDS = 1.0
HOLD_AND_REJECT = {"do": "hold_and_reject"}
RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": GONE_AFTER_SECONDS}
# A busy machine may delay the heartbeat before the stop, and the test's look after it.
NOISE_SECONDS = 0.5
REJECTED_ONCE = [(State.REJECTED, 1, ["rejected"])]


@pytest.fixture
def service(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project that others quickly take for lost, whose log can be read."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.configure({"callback": ACT}, **RESCUE)
        yield one


def heartbeats(conn: Connection) -> dict[int, datetime]:
    return dict(conn.execute("select id, heartbeat_at from supervisors").fetchall())


def all_beat_after(conn: Connection, moment: datetime) -> bool:
    return all(at > moment for at in heartbeats(conn).values())


def database_now(conn: Connection) -> datetime:
    row = conn.execute("select clock_timestamp()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def effects(conn: Connection) -> list[int]:
    return [id for (id,) in conn.execute("select job from public.effects")]


def settlements(admin: Admin) -> list[tuple[State, int, list[str]]]:
    return [
        (job.state, job.run_count, [failure.cause for failure in job.failures])
        for job in admin.find()
    ]


def has_gone_on(conn: Connection, since: datetime) -> bool:
    """Return whether the only worker has sent a query after it tried to settle.

    Its log lines do not tell, because its stopped supervisor does not pass them on.
    """
    row = conn.execute(
        "select query_start > %s and query not like %s from pg_stat_activity"
        " where datname = current_database() and application_name like %s",
        (since, "%ending as%", "taskmaster %:%:%"),
    ).fetchone()
    return row is not None and bool(row[0])


def drop_all_sessions(conn: Connection) -> None:
    """End all sessions, as a failover does."""
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name like 'taskmaster %'"
    )


@pytest.mark.parametrize("first", ["the worker", "all at once"])
def test_service_stopped_beyond_its_lease_writes_nothing(
    service: Project,
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
    first: str,
) -> None:
    service.start()
    (before,), (worker,) = heartbeats(conn), service.workers()
    job_id = publisher.put("q", HOLD_AND_REJECT)
    eventually(lambda: journal.began() == [job_id])
    service.signal_all(signal.SIGSTOP)
    with supervise(Consumer("q", callback=ACT), **RESCUE):
        eventually(lambda: len(journal.runs_of(job_id)) == 2, within=20.0)
        gates.open()
        eventually(lambda: settlements(admin) == REJECTED_ONCE)
    if first == "the worker":
        continued_at = database_now(conn)
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: has_gone_on(conn, continued_at))
    service.signal_all(signal.SIGCONT)
    eventually(lambda: "supervisor evicted" in service.output())
    eventually(lambda: service.workers() not in ([], [worker]))
    assert before not in heartbeats(conn)
    if first == "the worker":
        eventually(lambda: "lease lost" in service.output())
        eventually(lambda: [one.lost_leases for one in admin.supervisors()] == [1])
    later = publisher.put("q", HOLD_AND_REJECT)
    eventually(lambda: settlements(admin) == REJECTED_ONCE * 2)
    assert [run.run for run in journal.runs_of(later)] == [1]
    assert service.stop() == 0


def test_live_supervisors_with_dropped_sessions_rescue_nothing(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    consumer = Consumer("q", callback=ACT, batch=1)
    # They are silent while they connect, which may take long on a busy machine.
    gone = 2 * GONE_AFTER_SECONDS
    patient = {**RESCUE, "gone_after_seconds": gone}
    with supervise(consumer, **patient) as one, supervise(consumer, **patient) as other:
        ids = publisher.put_many("q", [{"do": "hold"}] * 2)
        eventually(lambda: sorted(journal.began()) == ids)
        before, workers = set(heartbeats(conn)), [*one.workers(), *other.workers()]
        for _ in range(6):
            drop_all_sessions(conn)
            enough = database_now(conn) + timedelta(seconds=gone / 4)
            eventually(partial(all_beat_after, conn, enough))
        enough = database_now(conn) + timedelta(seconds=2 * gone)
        eventually(lambda: all_beat_after(conn, enough))
        assert set(heartbeats(conn)) == before
        assert [*one.workers(), *other.workers()] == workers
        gates.open()
        eventually(lambda: admin.find() == [])
    assert sorted(journal.began()) == ids


def test_killed_supervisor_is_rescued_after_gone_after_seconds(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT), **RESCUE) as lost:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        with supervise(Consumer("q", callback=ACT), **RESCUE):
            began = time.monotonic()
            lost.kill()
            eventually(lambda: len(journal.runs_of(held)) == 2)
            gates.open()
            eventually(lambda: admin.find() == [])
    silent = journal.runs_of(held)[1].began - began
    assert (
        GONE_AFTER_SECONDS - 3 * RESCUE["heartbeat_seconds"] - NOISE_SECONDS
        < silent
        < 5 * GONE_AFTER_SECONDS
    )


def test_job_of_a_lost_host_runs_again_in_15_s_by_default(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    defaults = SupervisorOptions()
    rescue: dict[str, Any] = {
        "heartbeat_seconds": defaults.heartbeat_seconds,
        "gone_after_seconds": defaults.gone_after_seconds,
    }
    with supervise(Consumer("q", callback=ACT), **rescue) as lost:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        with supervise(Consumer("q", callback=ACT), **rescue):
            began = time.monotonic()
            lost.kill()
            eventually(lambda: len(journal.runs_of(held)) == 2, within=20.0)
            gates.open()
            eventually(lambda: admin.find() == [])
    assert journal.runs_of(held)[1].began - began < 15.0 + NOISE_SECONDS


def test_stopped_supervisor_is_rescued_only_when_given_up(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    consumers = Consumer("q", callback=ACT), Consumer("only here", callback=ACT, batch=1)
    with supervise(*consumers, **RESCUE) as stopped:
        (id,) = heartbeats(conn)
        held = publisher.put("q", {"do": "hold"})
        others = publisher.put_many("only here", [{"do": "hold", "gate": "other"}, {}])
        eventually(lambda: sorted(journal.began()) == [held, others[0]])
        with supervise(Consumer("q", callback=ACT), **RESCUE):
            began = time.monotonic()
            stopped.signal(stopped.pid, signal.SIGSTOP)
            silent = timedelta(seconds=2 * GONE_AFTER_SECONDS)
            eventually(lambda: database_now(conn) - heartbeats(conn)[id] > silent)
            gates.open("other")
            eventually(lambda: journal.finished() == others)
            assert len(journal.runs_of(held)) == 1
            eventually(lambda: len(journal.runs_of(held)) == 2, within=30.0)
            stopped.signal(stopped.pid, signal.SIGCONT)
            eventually(lambda: id not in heartbeats(conn) and len(heartbeats(conn)) == 2)
            gates.open()
            eventually(lambda: admin.find() == [])
    rescued_after = journal.runs_of(held)[1].began - began
    assert (
        rescued_after
        > GIVEN_UP_FACTOR * GONE_AFTER_SECONDS - 2 * RESCUE["heartbeat_seconds"] - NOISE_SECONDS
    )


def test_supervisor_continued_before_it_is_given_up_loses_no_job(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    with supervise(Consumer("q", callback=ACT), **RESCUE) as stopped:
        (id,) = heartbeats(conn)
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        with supervise(Consumer("q", callback=ACT), **RESCUE):
            stopped.signal(stopped.pid, signal.SIGSTOP)
            silent = timedelta(seconds=2 * GONE_AFTER_SECONDS)
            eventually(lambda: database_now(conn) - heartbeats(conn)[id] > silent)
            stopped.signal(stopped.pid, signal.SIGCONT)
            eventually(lambda: database_now(conn) - heartbeats(conn)[id] < silent / 4)
            gates.open()
            eventually(lambda: admin.find() == [])
            assert [one.lost_leases for one in admin.supervisors()] == [0, 0]
    assert [run.run for run in journal.runs_of(held)] == [1]


@pytest.fixture
def transactional(service: Project, conn: Connection) -> Project:
    """The service with callbacks that write into a table."""
    conn.execute("create table public.effects (job bigint)")
    service.configure({"callback": AFFECT, "delivery": "transactional"}, **RESCUE)
    return service


def test_at_most_once_job_of_a_continued_service_runs_once(
    transactional: Project,
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
    database_url: str,
) -> None:
    transactional.configure({"callback": AFFECT, "delivery": "at_most_once"}, **RESCUE)
    transactional.start()
    (worker,) = transactional.workers()
    held = publisher.put("q", {"do": "hold", "url": database_url})
    eventually(lambda: effects(conn) == [held])
    transactional.signal_all(signal.SIGSTOP)
    with supervise(Consumer("q", callback=AFFECT, delivery="at_most_once"), **RESCUE):
        eventually(lambda: settlements(admin) == [(State.REJECTED, 1, ["lost host"])], within=20.0)
        gates.open()
        transactional.signal_all(signal.SIGCONT)
        eventually(lambda: "supervisor evicted" in transactional.output())
        eventually(lambda: worker not in transactional.workers())
        later = publisher.put("q", {"url": database_url})
        eventually(lambda: later in journal.finished())
    eventually(lambda: settlements(admin) == [(State.REJECTED, 1, ["lost host"])])
    assert effects(conn) == [held, later]
    assert len(journal.runs_of(held)) == 1
    assert transactional.stop() == 0


def test_transaction_of_a_stopped_service_commits_when_continued(
    transactional: Project,
    supervise: Supervise,
    publisher: Publisher,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    transactional.start()
    (worker,) = transactional.workers()
    held = publisher.put("q", {"do": "hold"})
    eventually(lambda: journal.began() == [held])
    transactional.signal_all(signal.SIGSTOP)
    (before,) = heartbeats(conn)
    with supervise(Consumer("q", callback=AFFECT, delivery="transactional"), **RESCUE):
        later = publisher.put("q", {})
        eventually(lambda: later in journal.finished())
        eventually(lambda: before not in heartbeats(conn), within=20.0)
        gates.open()
        eventually(lambda: effects(conn) == [later])
        # Before its supervisor, which would kill it when it learns that it was evicted.
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: sorted(effects(conn)) == [held, later])
    assert [run.run for run in journal.runs_of(held)] == [1]
    transactional.signal_all(signal.SIGCONT)
    assert transactional.stop() == 0


def test_transaction_of_a_disconnected_service_takes_effect_once(
    transactional: Project,
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    transactional.start()
    held = publisher.put("q", {"do": "hold"})
    eventually(lambda: journal.began() == [held])
    transactional.signal_all(signal.SIGSTOP)
    drop_all_sessions(conn)
    with supervise(Consumer("q", callback=AFFECT, delivery="transactional"), **RESCUE):
        eventually(lambda: len(journal.runs_of(held)) == 2)
        gates.open()
        eventually(lambda: effects(conn) == [held])
        transactional.signal_all(signal.SIGCONT)
        eventually(lambda: "lost" in transactional.output())
        later = publisher.put_many("q", [{}] * 20)
        eventually(lambda: admin.find() == [])
    assert sorted(effects(conn)) == [held, *later]
    assert transactional.stop() == 0
