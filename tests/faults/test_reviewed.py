"""What reviewers found: each once, so that it does not come back."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import psycopg
import pytest

from taskmaster import Admin, Consumer, InvalidConfig, InvalidJob, JobNotFound, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.project import Project, project
from tests.support.unusable_callbacks import forgetful
from tests.support.waiting import pause

SECRET_URL = "postgresql+psycopg://u:s3cret@h/x"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": 1.0}
CLAIMS_WAITING = """
select pid, application_name from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into leases%'
"""
SLOW_CLAIMS = (
    "create table claims (worker text)",
    """create function slow_claim() returns trigger language plpgsql as $$
begin
  insert into taskmaster.claims values (new.worker);
  perform pg_advisory_xact_lock_shared(1);
  return null;
end $$""",
    "create trigger slow_claim after insert on leases for each row execute function slow_claim()",
)


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


@contextmanager
def lock(conn: Connection, table: str) -> Iterator[None]:
    """Keep everybody from writing to a table."""
    with conn.transaction():
        conn.execute(f"lock table {table} in share row exclusive mode")
        yield


def reject_all(conn: Connection) -> None:
    conn.execute(
        "with taken as (delete from ready returning *)"
        " insert into rejected (id, queue_name, priority, run_count, crashes, rescues, created_at, payload)"
        " select id, queue_name, priority, 1, 0, 0, created_at, payload from taken"
    )


# -- putting


def test_jobs_put_in_a_latin1_transaction_are_stored_unchanged(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    with psycopg.connect(database_url, client_encoding="LATIN1") as theirs:
        ids = publisher.put_many(
            "é", ["é€🦀", {"🦀": "\\ \t"}], headers={"h": "€"}, connection=theirs
        )
    assert [(job.id, job.queue_name, job.payload, job.headers) for job in admin.find()] == [
        (ids[0], "é", "é€🦀", {"h": "€"}),
        (ids[1], "é", {"🦀": "\\ \t"}, {"h": "€"}),
    ]


def test_job_that_latin1_cannot_encode_is_refused(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    publisher.put("é", "é")
    with psycopg.connect(database_url, client_encoding="LATIN1") as theirs:
        publisher.put("é", "é", connection=theirs)
        with pytest.raises(
            InvalidJob, match=r"client_encoding .* cannot write '.*': set it to UTF8$"
        ):
            publisher.put("é", "é€🦀", connection=theirs)
        publisher.put(
            "é", "ü", connection=theirs
        )  # nothing was sent: the transaction is still good
    assert [job.payload for job in admin.find(queue_name="é")] == ["é", "é", "ü"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_puts_while_its_parent_was_putting(publisher: Publisher, admin: Admin) -> None:
    putting, enough = Event(), Event()

    def payloads() -> Iterator[int]:
        yield 1
        putting.set()
        enough.wait(30)

    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(publisher.put_many, "parent", payloads())
        assert putting.wait(10)
        child = os.fork()
        if child == 0:
            publisher.put("child")
            os._exit(0)
        try:
            eventually(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        finally:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            enough.set()
        put.result(10)
    assert status == 0
    assert (admin.size("child"), admin.size("parent")) == (1, 1)


@pytest.mark.parametrize("headers", [[1], "h", 1, [("a", 1)]])
def test_headers_that_are_not_a_mapping_are_refused(publisher: Publisher, headers: Any) -> None:
    with pytest.raises(InvalidJob, match="headers must be a mapping"):
        publisher.put("q", headers=headers)
    with pytest.raises(InvalidJob, match="headers must be a mapping"):
        publisher.put_many("q", [1], headers=headers)


def test_schema_that_postgres_reads_differently_is_refused(database_url: str) -> None:
    for make in (Publisher, Admin):
        with pytest.raises(InvalidConfig, match=r"\$user"):
            make(database_url, schema="$user")


def test_requeues_in_opposite_order_do_not_deadlock(
    publisher: Publisher, admin: Admin, database_url: str, conn: Connection
) -> None:
    ids = publisher.put_many("q", [{}] * 200)
    together = Barrier(2)

    def requeue(admin: Admin, order: list[int]) -> None:
        together.wait(10)
        with suppress(JobNotFound):  # the other has put some of them back
            admin.requeue(*order)

    with Admin(database_url) as one, Admin(database_url) as other, ThreadPoolExecutor(2) as pool:
        one.find()
        other.find()
        for _ in range(20):
            reject_all(conn)
            first = pool.submit(requeue, one, ids)
            second = pool.submit(requeue, other, ids[::-1])
            first.result(20)
            second.result(20)
            assert {job.state for job in admin.find(most=len(ids))} == {State.READY}


# -- supervisors


def test_settlement_waiting_for_a_lock_delays_no_heartbeat(
    here: Project,
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    connection: Callable[[], Connection],
) -> None:
    here.configure({"concurrency": 2, "batch": 1}, **RESCUE)
    here.start()
    with supervise(Consumer("other", callback=ACT), **RESCUE):
        killed, held = publisher.put_many("q", [{"do": "hold_once"}, {"do": "hold"}])
        eventually(lambda: sorted(journal.began()) == [killed, held])
        registered = [status.name for status in admin.supervisors()]
        with lock(connection(), "ready"):
            os.kill(journal.runs_of(killed)[0].pid, signal.SIGKILL)
            until = time.monotonic() + 7 * RESCUE["gone_after_seconds"]
            silent = [0.0]
            while time.monotonic() < until:
                silent += [status.silent_seconds for status in admin.supervisors()]
                pause(0.01)
        eventually(lambda: len(journal.runs_of(killed)) == 2)
        gates.open()
        eventually(lambda: admin.find() == [])
        assert [status.name for status in admin.supervisors()] == registered
        assert [status.lost_leases for status in admin.supervisors()] == [0, 0]
    assert [run.run for run in journal.runs_of(held)] == [1]
    assert "waiting for a lock" in here.said()
    assert (
        "database unreachable" not in here.said()
    )  # the session, whose lock says that it lives, was kept
    assert max(silent) < 5.0
    assert here.stop() == 0


def test_supervisor_with_a_stopped_template_exits_in_time(
    supervise: Supervise,
) -> None:
    with supervise(Consumer("q", callback=ACT, concurrency=2), grace_seconds=2.0) as supervisor:
        supervisor.signal(supervisor.template(), signal.SIGSTOP)
        victim = supervisor.workers()[0]
        supervisor.signal(victim, signal.SIGKILL)
        eventually(lambda: victim not in supervisor.workers())
        began = time.monotonic()
        supervisor.stop()
        assert supervisor.left() == 0
        assert time.monotonic() - began < 4.0


def test_supervisor_without_a_database_uses_no_cpu(here: Project) -> None:
    here.environment["TASKMASTER_DATABASE_URL"] = NOWHERE
    here.configure({})
    here.start(ready=False)
    eventually(lambda: "retrying" in here.said() and here.templates())
    used, until = cpu_seconds(here.pid), time.monotonic() + 1.0
    eventually(lambda: time.monotonic() > until)
    assert cpu_seconds(here.pid) - used < 0.2
    assert here.stop() == 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_claim_committed_after_its_worker_was_killed_is_released(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    for statement in SLOW_CLAIMS:
        conn.execute(statement)
    with supervise(Consumer("q", callback=ACT), **RESCUE) as supervisor:
        conn.execute("select pg_advisory_lock(1)")
        job_id = publisher.put("q")
        ((backend, name),) = eventually(lambda: conn.execute(CLAIMS_WAITING).fetchall())
        victim, killed_at = supervisor.worker(), time.monotonic()
        supervisor.signal(victim, signal.SIGKILL)
        eventually(
            lambda: (
                supervisor.workers() not in ([], [victim]) and time.monotonic() > killed_at + 3.0
            )
        )
        assert conn.execute(CLAIMS_WAITING).fetchall() == [(backend, name)]
        assert journal.began() == []
        conn.execute("select pg_advisory_unlock(1)")
        eventually(lambda: job_id in journal.finished() and admin.find() == [])
        claimants = [
            f"taskmaster {worker}"
            for (worker,) in conn.execute("select worker from claims").fetchall()
        ]
    assert (claimants[0], len(claimants)) == (name, 2)
    assert [(run.id, run.run) for run in journal.runs()] == [(job_id, 1)]


# -- what newcomers get wrong


@pytest.mark.parametrize("command", [("check",), ("run",), ("put", "q", "1"), ("status",)])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_command_refuses_an_invalid_url_without_its_password(
    here: Project, command: tuple[str, ...], place: str
) -> None:
    here.configure({}, top=f'database_url = "{SECRET_URL}"' if place == "file" else "")
    here.environment["TASKMASTER_DATABASE_URL"] = SECRET_URL if place == "environment" else ""
    code, said = ran(here, *command)
    assert code == 1
    assert "database_url must begin with postgresql://" in said
    assert "s3cret" not in said
    assert "Traceback" not in said


def test_publisher_refuses_an_invalid_url_without_its_password() -> None:
    with (
        Publisher(SECRET_URL) as publisher,
        pytest.raises(InvalidConfig, match="postgresql://") as refused,
    ):
        publisher.put("q")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("consumer", "top", "about"),
    [
        (
            {},
            'middleware = [{ use = "logging", format = "xml" }]',
            "format must be 'text' or 'json', got 'xml'",
        ),
        (
            {"callback": "tests.support.unusable_callbacks:takes_nothing"},
            "",
            "must take one argument, the job",
        ),
        ({"callback": "tests.support.unusable_callbacks:generates"}, "", "generator function"),
    ],
)
def test_check_and_run_refuse_what_cannot_work_in_one_sentence(
    here: Project, consumer: dict[str, Any], top: str, about: str
) -> None:
    here.configure({"concurrency": 3, **consumer}, top=top)
    for command in ("check", "run"):
        code, said = ran(here, command)
        assert code == 1
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if about in line]
        assert len(lines) == 1, said
        assert "consumer 'q'" in lines[0]


def ran(here: Project, *command: str) -> tuple[int, str]:
    """The exit code of a command that ends by itself, and all that it said."""
    process = here.start(*command, ready=False, stdin=subprocess.DEVNULL)
    return process.wait(20), here.said()


def test_middleware_that_returns_none_is_named_in_the_failure(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(Consumer("q", callback=ACT, middleware=[forgetful], max_runs=1)):
        job_id = publisher.put("q")
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    assert "a middleware returned None" in failure.message
    assert "the callback" not in failure.message
