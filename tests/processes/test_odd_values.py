"""Values that Python, SQL or the shell accept, and that JSON or Postgres refuse."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from taskmaster import Admin, Consumer, Failure, Outcome, Publisher, Retry, Snooze, State
from taskmaster.settlement import Run, for_outcome, to_entry
from taskmaster.store.connection import Connection
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT, Seconds
from tests.support.store import rejected

UNREADABLE = [
    pytest.param("1e999", id="1e999"),
    pytest.param('"\\ud800"', id="surrogate"),
    pytest.param("[" * 5_000 + "]" * 5_000, id="deep"),
]
BARELY_READABLE = pytest.param("[" * 1_010 + "]" * 1_010, id="barely")
NO_UTF8 = b"mail \xff"
FAILURE = Failure(cause="exception", message="")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """Run `taskmaster …` in an empty directory, and return when it is done."""

    def run(*arguments: str | bytes) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "taskmaster", *arguments],
            cwd=tmp_path, env={**os.environ, "TASKMASTER_DATABASE_URL": database_url}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
        )  # fmt: skip

    return run


# -- delays of another type than float


@pytest.mark.parametrize("outcome", [Snooze(Seconds(1.5)), Retry(Seconds(1.5))])
def test_delay_of_a_float_subclass_is_kept_in_the_row(outcome: Outcome) -> None:
    settlement = for_outcome(Run(1, 1, 0), outcome, Consumer("q", callback=ACT), FAILURE)
    assert settlement is not None
    assert type(settlement.delay_seconds) is float
    assert orjson.loads(orjson.dumps(to_entry(settlement)))["delay_seconds"] == 1.5


def test_delay_of_a_float_subclass_costs_no_worker_and_no_run(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(
        Consumer("q", callback="tests.support.callbacks:return_own_seconds", batch=5)
    ) as supervisor:
        worker = supervisor.worker()
        snoozed, retried = publisher.put_many("q", ["snooze", "retry"])
        eventually(lambda: admin.find() == [])
        assert supervisor.worker() == worker
    assert [run.run for run in journal.runs_of(snoozed)] == [1, 1]
    assert [run.run for run in journal.runs_of(retried)] == [1, 2]


# -- JSON that only SQL can put


def put_by_sql(conn: Connection, payload: str, headers: str | None = None) -> int:
    row = conn.execute("select put('q', %s::json, %s::json)", (payload, headers)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("payload", UNREADABLE)
@pytest.mark.parametrize("where", ["payload", "headers"])
def test_unreadable_json_rejects_its_job_and_no_batch_mate(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    payload: str,
    where: str,
) -> None:
    before = publisher.put("q")
    unreadable = (
        put_by_sql(conn, payload) if where == "payload" else put_by_sql(conn, "{}", payload)
    )
    after = publisher.put("q")
    with supervise(Consumer("q", callback=ACT, batch=10)) as supervisor:
        worker = supervisor.worker()
        eventually(
            lambda: [(job.id, job.state) for job in admin.find()] == [(unreadable, State.REJECTED)]
        )
        assert supervisor.worker() == worker
    assert journal.finished() == [before, after]
    (failure,) = admin.get(unreadable).failures
    assert failure.cause == "rejected"
    assert failure.message.startswith("its payload or headers cannot be read: ")
    assert "\n" not in failure.message


@pytest.mark.parametrize("payload", [*UNREADABLE, BARELY_READABLE])
def test_commands_show_unreadable_json(cli: Cli, conn: Connection, payload: str) -> None:
    kept = rejected(conn)
    conn.execute("update rejected set payload = %s::json, headers = %s::json", (payload, payload))
    waiting = put_by_sql(conn, payload)
    commands = {
        ("jobs",): [kept, waiting],
        ("show", str(kept)): [kept],
        ("show", str(waiting)): [waiting],
    }
    for command, ids in commands.items():
        plain, document = cli(*command), cli(*command, "--json")
        assert (plain.returncode, plain.stderr) == (0, ""), command
        assert all(str(job_id) in plain.stdout for job_id in ids)
        assert (document.returncode, document.stderr) == (0, ""), command
        found = parse(document.stdout)
        assert [record["id"] for record in (found if isinstance(found, list) else [found])] == ids


def parse(document: str) -> Any:
    """Parse JSON that is nested deeper than the recursion limit of a test allows."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        return json.loads(document)
    finally:
        sys.setrecursionlimit(limit)


def test_client_encoding_in_the_environment_garbles_no_payload(
    monkeypatch: pytest.MonkeyPatch, supervise: Supervise, database_url: str, journal: Journal
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    consumer = Consumer("ü", callback="tests.support.callbacks:keep_payload")
    with supervise(consumer), Publisher(database_url) as publisher:
        publisher.put("ü", {"name": "Ängström 🚀"})
        eventually(lambda: journal.finished())
    assert journal.lines("began")[0]["payload"] == {"name": "Ängström 🚀"}


# -- arguments that are not text


@pytest.mark.parametrize(
    "arguments",
    [
        ("requeue", "--queue", NO_UTF8),
        ("jobs", "--queue", NO_UTF8),
        ("delete", "--yes", "--queue", NO_UTF8),
        ("put", NO_UTF8),
        ("put", "mail", b'"\xff"'),
        ("show", NO_UTF8),
        ("jobs", "--config", b"\xff.toml"),
    ],
)
def test_argument_that_is_not_text_is_refused_in_one_sentence(
    cli: Cli, admin: Admin, arguments: tuple[str | bytes, ...]
) -> None:
    done = cli(*arguments)
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    sentences = [
        line for line in done.stderr.splitlines() if line.startswith(("taskmaster: ", "Error: "))
    ]
    assert len(sentences) == 1, done.stderr
    assert done.returncode == 2 or done.stderr.count("\n") == 1
    assert admin.find() == []
