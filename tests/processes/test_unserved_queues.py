"""Queues with jobs that no supervisor serves: in the metrics, in `status` and in `check`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster import Publisher, State
from taskmaster.cli.inspect import queues_without_supervisor
from taskmaster.processes.exporter.queues import MOST_UNSERVED, Queues
from taskmaster.processes.ipc.plan import Database
from taskmaster.store import stats, supervisors
from taskmaster.store.connection import Connection
from taskmaster.store.jobs import QueueCount
from taskmaster.store.supervisors import HeartbeatReport, SupervisorStatus
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project
from tests.support.scraping import Exporter
from tests.support.store import SCHEMA, put, put_many, register

GAUGE = "taskmaster_unserved_queue_jobs"


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project that serves "q" and its metrics."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        serve(one, "q")
        yield one


def serve(here: Project, *queues: str) -> None:
    """Write a configuration with these queues."""
    here.configure(*({"queue_name": name} for name in queues), http='"127.0.0.1:0"')


def run(here: Project, *arguments: str) -> str:
    """Return what a command of taskmaster prints."""
    command = [sys.executable, "-m", "taskmaster", *arguments]
    return subprocess.run(
        command, cwd=here.directory, env=here.environment, text=True, capture_output=True,
        timeout=30, check=True,
    ).stdout  # fmt: skip


def jobs_by_queue(conn: Connection) -> dict[str, int]:
    return stats.jobs_without_supervisor(conn, most_queues=10)


def serves(conn: Connection, *queue_names: str) -> int:
    """Register a supervisor that serves these queues, and return its id."""
    supervisor = register(conn)
    report = HeartbeatReport(idle=False, idle_ms=0, queue_names=list(queue_names))
    supervisors.heartbeat(conn, supervisor, report)
    return supervisor


# -- a supervisor and its exporter


def test_misspelled_queue_is_seen_until_a_supervisor_serves_it(
    here: Project, publisher: Publisher, conn: Connection
) -> None:
    publisher.put_many("mial", [{}] * 2)
    publisher.put("mial", delay=3600)
    here.start()
    exporter = Exporter(here.pid)
    eventually(lambda: exporter.sum(GAUGE) == exporter.sum(GAUGE, queue="mial") == 3)
    assert "'mial' (3)" in run(here, "check")
    assert "mial (no supervisor)" in run(here, "status")
    (shown,) = json.loads(run(here, "status", "--json"))["supervisors"]
    assert shown["queue_names"] == ["q"]

    serve(here, "mial", "q")
    here.reload()
    eventually(lambda: jobs_by_queue(conn) == {})
    eventually(lambda: GAUGE + "{" not in exporter.get("/metrics").text, within=30)
    assert "no supervisor" not in run(here, "status") + run(here, "check")


def test_queue_that_a_reload_removed_is_seen_if_it_has_jobs(
    here: Project, publisher: Publisher, conn: Connection
) -> None:
    here.start()
    serve(here, "r")
    here.reload()
    publisher.put("q")
    eventually(lambda: jobs_by_queue(conn) == {"q": 1})


# -- which queues are counted


def test_queue_of_any_supervisor_is_served(conn: Connection) -> None:
    serves(conn, "a", "b")
    serves(conn, "c")
    for queue in ("a", "b", "c", "d", 'odd "name"\n'):
        put_many(conn, 2, queue=queue)
        put(conn, queue=queue, delay=3600)
    put(conn, queue="scheduled only", delay=3600)
    assert jobs_by_queue(conn) == {"d": 3, 'odd "name"\n': 3, "scheduled only": 1}


def test_supervisor_that_does_not_say_may_serve_every_queue(conn: Connection) -> None:
    serves(conn, "a")
    older = register(conn)
    put(conn, queue="b")
    assert jobs_by_queue(conn) == {}
    supervisors.retire(conn, older)
    assert jobs_by_queue(conn) == {"b": 1}


def test_supervisor_that_retired_serves_no_queue(conn: Connection) -> None:
    us = serves(conn, "a")
    put(conn, queue="a")
    assert jobs_by_queue(conn) == {}
    supervisors.retire(conn, us)
    assert jobs_by_queue(conn) == {"a": 1}


def test_queues_beyond_a_hundred_are_left_out_and_logged_once(
    conn: Connection, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST_UNSERVED + 5):
        put(conn, queue=f"tenant {number}")
    queues = Queues(Database(database_url, SCHEMA))
    for _ in range(2):
        queues.count()
        assert len(queues.counts([]).unserved) == MOST_UNSERVED
    queues.close()
    lines = [one.getMessage() for one in caplog.records]
    assert lines == ["queues left out of the metrics: more than 100 have jobs and no supervisor"]


def test_supervisor_without_heartbeats_serves_no_queue_in_status() -> None:
    def status(name: str, silent_seconds: float, *queue_names: str) -> SupervisorStatus:
        return SupervisorStatus(name, 100.0, silent_seconds, 0, queue_names)

    jobs = [QueueCount(name, State.READY, 1, 5.0) for name in ("a", "b")]
    live, lost = status("live", 1.0, "a"), status("lost", 60.0, "b")
    assert queues_without_supervisor(jobs, [live, lost]) == {"b"}
    assert queues_without_supervisor(jobs, []) == {"a", "b"}
    assert queues_without_supervisor(jobs, [live._replace(queue_names=None), lost]) == set()
    rejected = [count._replace(state=State.REJECTED) for count in jobs]
    assert queues_without_supervisor(rejected, []) == set()
