"""A database that is restarted, crashes, cuts connections, or is not there."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from taskmaster import Admin, Consumer, DatabaseUnreachable, Publisher, State
from taskmaster.embedded import server
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.store.bounded import BoundedConnection
from taskmaster.store.connection import Connection, connect
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.journal import JOURNAL
from tests.support.project import Project, project
from tests.support.server import SCHEMA
from tests.support.supervisor_process import pids_with_mark, title_of

NOWHERE = "postgresql://postgres@127.0.0.1:1/none"

BACK_WITHIN_SECONDS = 2.0


class OwnServer:
    """A server that the test stops and starts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""

    def start(self) -> None:
        self.manager = server(self.directory)
        self.url = self.manager.__enter__()

    def stop(self) -> None:
        self.manager.__exit__(None, None, None)

    def crash(self) -> None:
        """Kill the postmaster, so that only what is on the disk survives."""
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    # Not pytest's tmp_path: it is closed to the account that runs the server for root.
    with tempfile.TemporaryDirectory(prefix="taskmaster-test-") as directory:
        own = OwnServer(Path(directory))
        own.start()
        try:
            yield own
        finally:
            own.stop()


def backends(conn: Connection, name: str) -> list[int]:
    found = conn.execute(
        "select pid from pg_stat_activity"
        " where application_name like %s and datname = current_database()",
        (name,),
    )
    return [row[0] for row in found.fetchall()]


def terminate(conn: Connection, name: str) -> None:
    pids = backends(conn, name)
    assert pids
    conn.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", (pids,))


@pytest.mark.timeout(120)
def test_database_restart_loses_no_job_and_work_goes_on_in_2_s(
    supervise: Supervise, own_server: OwnServer, journal: Journal, gates: Gates
) -> None:
    url = own_server.url
    with supervise(Consumer("q", callback=ACT, concurrency=2), url=url) as supervisor:
        with Publisher(url) as publisher:
            held = publisher.put("q", {"do": "hold"})
            rejected = publisher.put("q", {"do": "reject"})
            later = publisher.put("q", delay=0.5)
            eventually(lambda: {held, rejected} <= set(journal.began()))
        workers = supervisor.workers()
        own_server.stop()
        gates.open()  # the job ends while there is no database
        eventually(lambda: held in journal.finished())
        own_server.start()
        back = time.monotonic()
        with Publisher(url) as publisher, Admin(url) as admin:
            job_id = publisher.put("q")
            eventually(lambda: job_id in journal.finished(), within=BACK_WITHIN_SECONDS)
            assert time.monotonic() - back < BACK_WITHIN_SECONDS + 0.5
            eventually(lambda: [record.id for record in admin.find()] == [rejected])
        assert supervisor.workers() == workers
    assert sorted(journal.began()) == sorted([held, rejected, later, job_id])


@pytest.mark.timeout(120)
def test_database_crash_loses_no_job_that_was_put(
    supervise: Supervise, own_server: OwnServer, journal: Journal
) -> None:
    url = own_server.url
    with supervise(Consumer("q", callback=ACT, concurrency=2), url=url):
        with Publisher(url) as publisher:
            ids = publisher.put_many("q", [{"do": "spin", "seconds": 0.005}] * 200)
            eventually(lambda: len(journal.finished()) > 20)
        own_server.crash()
        own_server.stop()
        own_server.start()
        with Admin(url) as admin:
            eventually(lambda: admin.find(most=1) == [], within=20.0)
    assert set(journal.finished()) == set(ids)


def test_supervisor_waits_for_a_database_that_is_down(
    supervise: Supervise, own_server: OwnServer, journal: Journal
) -> None:
    sockets = own_server.directory / "sockets"  # it does not exist yet, so no server replies
    url = f"postgresql:///postgres?user=postgres&host={sockets}&port=5432"

    def come_up() -> None:
        # The template is started after the first attempt to connect.
        eventually(
            lambda: (
                "taskmaster template" in map(title_of, pids_with_mark(str(journal.path), JOURNAL))
            )
        )
        sockets.symlink_to(own_server.directory / "data")

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_up)
        with supervise(Consumer("q", callback=ACT), url=url), Publisher(url) as publisher:
            job_id = publisher.put("q")
            eventually(lambda: journal.finished() == [job_id])
        coming.result(10.0)


def test_unreachable_database_is_reported_in_one_sentence() -> None:
    url = "postgresql://postgres@127.0.0.1:1/nothing?connect_timeout=1"
    for call in (lambda: Publisher(url).put("q"), lambda: Admin(url).find()):
        with pytest.raises(DatabaseUnreachable, match="cannot connect to the database") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_supervisor_without_a_database_exits_when_asked(supervise: Supervise) -> None:
    url = "postgresql://postgres@127.0.0.1:1/nothing"
    with (
        pytest.raises(Exception, match=r"not ready within 1\.5 s"),
        supervise(Consumer("q", callback=ACT), url=url, within=1.5),
    ):
        raise AssertionError("it was ready")


def test_stop_without_a_database_reports_unsettled_exits(
    own_server: OwnServer, supervise: Supervise, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    with supervise(
        Consumer("q", callback=ACT), url=own_server.url, grace_seconds=0.2
    ) as supervisor:
        with Publisher(own_server.url) as publisher:
            job_id = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [job_id])
        own_server.stop()
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    assert "exits not settled, " in capfd.readouterr().err
    own_server.start()


def test_worker_that_lost_its_connection_settles_its_job_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        worker = supervisor.worker()
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        name = admin.get(held).worker
        terminate(conn, f"taskmaster {name}")
        gates.open()
        eventually(lambda: admin.find() == [])
        job_id = publisher.put("q")
        eventually(lambda: journal.finished() == [held, job_id])
        assert supervisor.worker() == worker
    assert [run.run for run in journal.runs()] == [1, 1]


def test_idle_worker_that_lost_its_connection_reconnects(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        first = publisher.put("q")
        eventually(lambda: admin.find() == [])
        worker = supervisor.worker()
        terminate(conn, "taskmaster %:%:%")
        second = publisher.put("q")
        eventually(lambda: journal.finished() == [first, second])
        assert supervisor.worker() == worker


def test_supervisor_settles_a_crash_after_it_has_reconnected(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    with supervise(Consumer("q", callback=ACT, max_crashes=1)) as supervisor:
        job_id = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [job_id])
        terminate(conn, "taskmaster supervisor%")
        supervisor.signal(supervisor.worker(), signal.SIGKILL)
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert admin.get(job_id).failures[0].cause == "signal SIGKILL"


def test_repeatedly_cut_connections_lose_and_repeat_no_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    ids = publisher.put_many("q", [{"do": "spin", "seconds": 0.003}] * 300)
    eventually(lambda: admin.find(most=1))
    with supervise(Consumer("q", callback=ACT, concurrency=2)):
        for n in range(1, 7):
            eventually(lambda n=n: len(journal.began()) >= n * 30)  # type: ignore[misc]
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'taskmaster %%' and datname = current_database()"
                " and pid <> pg_backend_pid()"
            )
        eventually(lambda: admin.find(most=1) == [], within=20.0)
    assert sorted(journal.began()) == ids


def test_serializable_read_only_database_defaults_change_nothing(
    supervise: Supervise, journal: Journal, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:
        name = psycopg.sql.Identifier(own.info.dbname)
        for default in (
            "default_transaction_isolation to 'serializable'",
            "default_transaction_read_only to on",
            "search_path to pg_catalog",
            "statement_timeout to '2s'",
        ):
            own.execute(
                psycopg.sql.SQL("alter database {} set {}").format(name, psycopg.sql.SQL(default))
            )
    with (
        supervise(Consumer("q", callback=ACT, concurrency=2)),
        Publisher(database_url) as publisher,
    ):
        ids = publisher.put_many("q", [{}] * 500)
        with Admin(database_url) as admin:
            eventually(lambda: admin.find(most=1) == [])
    assert sorted(journal.began()) == ids


@pytest.mark.timeout(150)
def test_150_workers_start_if_the_server_takes_100_sessions(
    supervise: Supervise, own_server: OwnServer
) -> None:
    consumer = Consumer("q", callback=ACT, concurrency=150)
    with Publisher(own_server.url) as publisher, Admin(own_server.url) as admin:
        publisher.put_many("q", [{}] * 150)
        assert admin.size("q") == 150
        with supervise(consumer, url=own_server.url, within=60.0) as supervisor:
            assert len(supervisor.workers()) == 150
            eventually(lambda: admin.find() == [], within=30.0)


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


@pytest.mark.parametrize("is_reloading", [False, True])
def test_supervisor_without_a_database_uses_no_cpu(here: Project, is_reloading: bool) -> None:
    here.environment["TASKMASTER_DATABASE_URL"] = NOWHERE
    here.configure({})
    here.start(ready=False)
    eventually(lambda: "retrying" in here.output() and here.templates())
    if is_reloading:
        here.hup()
        eventually(lambda: "reload started" in here.output())
    used, until = cpu_seconds(here.pid), time.monotonic() + 1.0
    eventually(lambda: time.monotonic() > until)
    assert cpu_seconds(here.pid) - used < 0.2
    assert here.stop() == 0


def test_supervisor_refuses_a_newer_schema_in_one_sentence(here: Project, conn: Connection) -> None:
    conn.execute("insert into migrations (version, name) values (9999, 'of the future')")
    here.configure({})
    here.start(ready=False)
    eventually(lambda: "newer than this code knows (" in here.output())
    assert here.wait_for_exit() == 1
    assert "Traceback" not in here.output()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_server_that_does_not_respond_is_disconnected(database_url: str) -> None:
    with connect(database_url, SCHEMA) as conn:
        assert isinstance(conn, BoundedConnection)
        conn.patience_seconds = 0.2
        with pytest.raises(psycopg.OperationalError, match=r"the server has not \w+ within 0\.2 s"):
            conn.execute("select pg_sleep(50)")
        assert conn.closed


def test_refused_connection_is_shown_with_its_reason(
    own_server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(own_server.url, autocommit=True) as conn:
        conn.execute("create role app login superuser")
        url = make_conninfo(own_server.url, user="app")
        session = DatabaseSession(Database(url, SCHEMA))
        session.run_due(0.0)
        conn.execute("alter role app nologin")
        conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
        session.run(lambda own: own.execute("select 1"), 0.0, subject="a test")
        for _ in range(3):
            session.run_due(session.connect_at)
        (sentence,) = session.troubles.sentences()
        assert "is not permitted to log in" in sentence
        assert caplog.text.count("is not permitted to log in") == 1
        conn.execute("alter role app login")
        session.run_due(session.connect_at)
        assert (session.is_open, session.troubles.sentences()) == (True, [])
        session.close()
