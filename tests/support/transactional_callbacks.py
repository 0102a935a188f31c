"""A callback whose effect is a row, and what it does with its transaction afterwards."""

import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from taskmaster import Job, Outcome, Reject, Retry, Snooze
from tests.support.journal import note_job, own_journal, wait_at
from tests.support.kill_steps import IN_CALLBACK, kill_at, kill_own_process

ACT = "tests.support.transactional_callbacks:act"


def act(job: Job) -> Outcome | None:
    """Write a row, and do what the payload says.

    The row is written by `job.connection`, or by an own connection if the payload has a URL.
    """
    note_job("began", job, crashes=job.crashes)
    if "url" in job.payload:
        with psycopg.connect(job.payload["url"], autocommit=True) as conn:
            write_effect(conn, job)
    else:
        write_effect(job.connection, job)
    kill_at(IN_CALLBACK)
    outcome = ACTS[job.payload.get("do", "ack")](job)
    note_job("ended", job)
    return outcome


def write_effect(conn: psycopg.Connection[Any], job: Job) -> None:
    conn.execute("insert into public.effects (job) values (%s)", (job.id,))


def is_first_run(job: Job) -> bool:
    return job.run_count == 1


def _raise(job: Job) -> Outcome | None:
    raise ValueError("boom")


def _swallow(job: Job) -> Outcome | None:
    try:
        job.connection.execute("select 1 / 0")
    except psycopg.Error:
        return None
    raise AssertionError("1 / 0 raised no error")


def _savepoint(job: Job) -> Outcome | None:
    """Continue after an error inside a savepoint."""
    try:
        with job.connection.transaction():
            write_effect(job.connection, job)
            job.connection.execute("select 1 / 0")
    except psycopg.errors.DivisionByZero:
        return None
    raise AssertionError("1 / 0 raised no error")


def _commit(job: Job) -> Outcome | None:
    job.connection.execute("commit")
    return None


def _commit_and_begin(job: Job) -> Outcome | None:
    job.connection.execute("commit")
    job.connection.execute("begin")
    write_effect(job.connection, job)
    return None


def _rollback(job: Job) -> Outcome | None:
    job.connection.execute("rollback")
    return None


def _commit_by_method(job: Job) -> Outcome | None:
    job.connection.commit()
    return None


def _close(job: Job) -> Outcome | None:
    job.connection.close()
    return None


def _spin(job: Job) -> Outcome | None:
    """Compute for that number of seconds."""
    until = time.monotonic() + job.payload["seconds"]
    while time.monotonic() < until:
        sum(range(500))
    return None


def _spin_and_close(job: Job) -> Outcome | None:
    _spin(job)
    return _close(job)


def _spin_and_crash(job: Job) -> Outcome | None:
    _spin(job)
    kill_own_process()


def _close_and_raise(job: Job) -> Outcome | None:
    job.connection.close()
    raise ValueError("boom")


def _break_a_deferred_constraint(job: Job) -> Outcome | None:
    job.connection.execute("insert into public.strict (id) values (1), (1)")
    return None


def _hold(job: Job) -> Outcome | None:
    wait_at()
    return None


def _use_after_hold(job: Job) -> Outcome | None:
    """Note the backend, hold in the first run, and use the connection again."""
    note_job("backend", job, backend=job.connection.info.backend_pid)
    if is_first_run(job):
        wait_at()
    job.connection.execute("select 1")
    return None


def _ack_after_hold(job: Job) -> Outcome | None:
    """Note the backend and hold in the first run, without using the connection again."""
    note_job("backend", job, backend=job.connection.info.backend_pid)
    if len(own_journal().runs_of(job.id)) == 1:
        wait_at()
    return None


def _raise_after_hold(job: Job) -> Outcome | None:
    if is_first_run(job):
        _ack_after_hold(job)
        raise ValueError("boom")
    return None


def _change_session(job: Job) -> Outcome | None:
    """Change everything in the session that a callback may change for itself."""
    for statement in (
        "set statement_timeout = '5s'", "set idle_in_transaction_session_timeout = '5s'",
        "set search_path = 'nowhere'", "set time zone 'Asia/Kathmandu'",
        "select pg_advisory_lock(7)", "create temp table mine (id int)", "listen mine",
        "declare held cursor with hold for select 1",
    ):  # fmt: skip
        job.connection.execute(statement)
    job.connection.row_factory = dict_row
    return None


def _note_session(job: Job) -> Outcome | None:
    settings = (
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "search_path",
        "timezone",
    )
    rows = [job.connection.execute(f"show {name}").fetchone() for name in settings]
    for table in (
        "pg_listening_channels()",
        "pg_cursors where name = 'held'",
        "pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    ):
        rows.append(job.connection.execute(f"select count(*)::text from {table}").fetchone())
    rows.append(
        job.connection.execute(
            "select coalesce(to_regclass('pg_temp.mine')::text, 'none')"
        ).fetchone()
    )
    note_job("session", job, values=rows)
    return None


def _show_search_path(job: Job) -> Outcome | None:
    row = job.connection.execute("show search_path").fetchone()
    note_job("path", job, path=row and row[0])
    if is_first_run(job):
        return Retry(0.0)
    job.connection.execute("insert into here (job) values (%s)", (job.id,))
    return None


ACTS: dict[str, Callable[[Job], Outcome | None]] = {
    "ack": lambda job: None,
    "reject": lambda job: Reject("no good"),
    "retry": lambda job: Retry(60.0, "later"),
    "snooze": lambda job: Snooze(60.0),
    "raise": _raise,
    "swallow": _swallow,
    "savepoint": _savepoint,
    "commit": _commit,
    "commit_and_begin": _commit_and_begin,
    "commit_by_method": _commit_by_method,
    "rollback": _rollback,
    "close": _close,
    "spin": _spin,
    "spin_and_close": _spin_and_close,
    "spin_and_crash": _spin_and_crash,
    "close_and_raise": _close_and_raise,
    "deferred": _break_a_deferred_constraint,
    "hold": _hold,
    "use_after_hold": _use_after_hold,
    "ack_after_hold": _ack_after_hold,
    "raise_after_hold": _raise_after_hold,
    "search_path": _show_search_path,
    "change the session": _change_session,
    "note the session": _note_session,
}
