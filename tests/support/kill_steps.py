"""A worker that dies at one exact step of a delivery, and callbacks whose effect is a row.

The product has no hooks for this. The component `mined` is entered in the worker, after the fork and before the first
claim; there it wraps the functions at the borders of the step that the environment names. Whoever comes there first
makes the marker and kills itself; all others pass.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest.mock import patch
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from taskmaster import Job, Outcome, Reject, Retry, Snooze
from taskmaster.processes.ipc.scoreboard import BatchRecord
from taskmaster.processes.worker import batch, transactional
from taskmaster.store import leases, transactions
from tests.support.journal import note_job, own_journal, wait_at

ACT = "tests.support.kill_steps:act"
MINED = "tests.support.kill_steps:mined"
STEP = "TASKMASTER_TEST_STEP"
MARKER = "TASKMASTER_TEST_MARKER"
ANSWERED_WITHIN_MS = 10_000

BEFORE_CLAIM = "before the claim"
IN_CLAIM = "in the claim, its reply unread"
AFTER_CLAIM = "after the claim"
AT_START = "as the job starts"
IN_CALLBACK = "in the callback"
AFTER_CALLBACK = "after the callback"
IN_COMMIT = "in the commit, its reply unread"
AFTER_COMMIT = "after the commit"
STEPS = [
    BEFORE_CLAIM,
    IN_CLAIM,
    AFTER_CLAIM,
    AT_START,
    IN_CALLBACK,
    AFTER_CALLBACK,
    IN_COMMIT,
    AFTER_COMMIT,
]

# Where each step is, by the names that the product calls: the first of each pair is of leased deliveries.
CLAIMS = [(leases, "claim"), (transactions, "claim_one")]
STARTS = [(batch, "run_one"), (transactional, "run_one")]
ENDS = [
    (leases, "exchange"),
    (leases, "settle"),
    (transactions, "end"),
]  # a worker that leaves does not exchange


# -- dying


def die(step: str) -> None:
    """Die when this is the step, and when nobody has died there before."""
    if os.environ.get(STEP) != step:
        return
    try:
        os.close(os.open(os.environ[MARKER], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    kill_oneself()


def kill_oneself() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL came back")


def dies_next(step: str) -> bool:
    return os.environ.get(STEP) == step and not os.path.exists(os.environ[MARKER])  # noqa: PTH110


@contextmanager
def mined() -> Iterator[None]:
    """The component: the borders of the steps, wrapped for the life of this worker."""
    with ExitStack() as stack:

        def wrap(
            places: list[tuple[Any, str]],
            wrapper: Callable[[Callable[..., Any]], Callable[..., Any]],
        ) -> None:
            for owner, name in places:
                stack.enter_context(patch.object(owner, name, wrapper(getattr(owner, name))))

        wrap(CLAIMS, lambda claim: around(claim, BEFORE_CLAIM, AFTER_CLAIM, unread=IN_CLAIM))
        wrap(STARTS, lambda run: around(run, AT_START, None))
        wrap(
            [ENDS[0]],
            lambda both: settling(both, around(both, AFTER_CALLBACK, None, unread=IN_COMMIT)),
        )
        wrap([ENDS[1]], lambda settle: around(settle, AFTER_CALLBACK, None, unread=IN_COMMIT))
        wrap([ENDS[2]], lambda end: around(committing(end), AFTER_CALLBACK, None))
        wrap([(BatchRecord, "finish")], lambda finish: around(finish, AFTER_COMMIT, None))
        yield


def settling(plain: Callable[..., Any], mined: Callable[..., Any]) -> Callable[..., Any]:
    """A claim that settles nothing is no end of anything."""

    def chosen(
        conn: psycopg.Connection[Any], done: UUID | None, *arguments: Any, **keywords: Any
    ) -> Any:
        return (plain if done is None else mined)(conn, done, *arguments, **keywords)

    return chosen


def around(
    function: Callable[..., Any], before: str, after: str | None, *, unread: str | None = None
) -> Callable[..., Any]:
    """The function, with steps before and after it; in the step `unread` it sends its first statement and no more."""

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        die(before)
        if unread is not None and dies_next(unread):
            with patch.object(
                psycopg.Cursor, "execute", lambda *statement, **_: send(*statement, step=unread)
            ):
                function(*arguments, **keywords)
        answer = function(*arguments, **keywords)
        if after is not None:
            die(after)
        return answer

    return wrapped


def committing(end: Callable[..., None]) -> Callable[..., None]:
    """The end of a transaction, and the commit that comes after it sent in the step for that."""

    def wrapped(conn: psycopg.Connection[Any], *arguments: Any) -> None:
        end(conn, *arguments)
        if dies_next(IN_COMMIT):
            send(psycopg.ClientCursor(conn), "commit", step=IN_COMMIT)

    return wrapped


def send(cursor: psycopg.Cursor[Any], query: Any, parameters: Any = None, *, step: str) -> None:
    """Send a statement, wait for its answer without reading it, and die."""
    pgconn = cursor.connection.pgconn
    pgconn.send_query(psycopg.ClientCursor(cursor.connection).mogrify(query, parameters).encode())
    while pgconn.flush():
        pass
    answered = select.poll()
    answered.register(pgconn.socket, select.POLLIN)
    assert answered.poll(ANSWERED_WITHIN_MS)
    die(step)


# -- callbacks


def act(job: Job) -> Outcome | None:
    """Have an effect, and do what the payload says. Its effect is written where its delivery lets it be written."""
    note_job("began", job, crashes=job.crashes)
    if "url" in job.payload:
        with psycopg.connect(job.payload["url"], autocommit=True) as conn:
            affect(conn, job)
    else:
        affect(job.connection, job)
    die(IN_CALLBACK)
    outcome = ACTS[job.payload.get("do", "ack")](job)
    note_job("ended", job)
    return outcome


def affect(conn: psycopg.Connection[Any], job: Job) -> None:
    conn.execute("insert into public.effects (job) values (%s)", (job.id,))


def first(job: Job) -> bool:
    return job.run_count == 1


def _raise(job: Job) -> Outcome | None:
    raise ValueError("boom")


def _swallow(job: Job) -> Outcome | None:
    try:
        job.connection.execute("select 1 / 0")
    except psycopg.Error:
        return None
    raise AssertionError("1 / 0 is something")


def _savepoint(job: Job) -> Outcome | None:
    """Go past an error as it should be done."""
    try:
        with job.connection.transaction():
            affect(job.connection, job)
            job.connection.execute("select 1 / 0")
    except psycopg.errors.DivisionByZero:
        return None
    raise AssertionError("1 / 0 is something")


def _commit(job: Job) -> Outcome | None:
    job.connection.execute("commit")
    return None


def _commit_and_begin(job: Job) -> Outcome | None:
    job.connection.execute("commit")
    job.connection.execute("begin")
    affect(job.connection, job)
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
    """Compute for so many seconds."""
    until = time.monotonic() + job.payload["seconds"]
    while time.monotonic() < until:
        sum(range(500))
    return None


def _spin_and_close(job: Job) -> Outcome | None:
    _spin(job)
    return _close(job)


def _spin_and_die(job: Job) -> Outcome | None:
    _spin(job)
    kill_oneself()


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
    """Note the backend, hold on the first run, and use the connection again."""
    note_job("backend", job, backend=job.connection.info.backend_pid)
    if first(job):
        wait_at()
    job.connection.execute("select 1")
    return None


def _ack_after_hold(job: Job) -> Outcome | None:
    """The same, without ever using it again."""
    note_job("backend", job, backend=job.connection.info.backend_pid)
    if len(own_journal().runs_of(job.id)) == 1:
        wait_at()
    return None


def _raise_after_hold(job: Job) -> Outcome | None:
    if first(job):
        _ack_after_hold(job)
        raise ValueError("boom")
    return None


def _upset_the_session(job: Job) -> Outcome | None:
    """Do to the session what a callback may do to it for itself."""
    for statement in (
        "set statement_timeout = '5s'", "set idle_in_transaction_session_timeout = '5s'",
        "set search_path = 'nowhere'", "set time zone 'Asia/Kathmandu'",
        "select pg_advisory_lock(7)", "create temp table mine (id int)", "listen mine",
        "declare held cursor with hold for select 1",
    ):  # fmt: skip
        job.connection.execute(statement)
    job.connection.row_factory = dict_row
    return None


def _look_at_the_session(job: Job) -> Outcome | None:
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
    if first(job):
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
    "spin_and_die": _spin_and_die,
    "close_and_raise": _close_and_raise,
    "deferred": _break_a_deferred_constraint,
    "hold": _hold,
    "use_after_hold": _use_after_hold,
    "ack_after_hold": _ack_after_hold,
    "raise_after_hold": _raise_after_hold,
    "search_path": _show_search_path,
    "upset the session": _upset_the_session,
    "look at the session": _look_at_the_session,
}
