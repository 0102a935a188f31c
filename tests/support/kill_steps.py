"""A component that kills its worker at one exact step of a delivery.

The step is named in the environment. The first worker that comes to it creates the marker and kills
itself. All others pass.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest.mock import patch
from uuid import UUID

import psycopg

from tests.support import wrapped_functions as functions
from tests.support.wrapped_functions import WrappedFunction, wrap_function

KILL_AT_STEP = "tests.support.kill_steps:kill_at_step"
STEP = "TASKMASTER_TEST_STEP"
MARKER = "TASKMASTER_TEST_MARKER"
REPLY_WITHIN_MS = 10_000

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

Function = Callable[..., Any]


@contextmanager
def kill_at_step() -> Iterator[None]:
    """Wrap the functions at the borders of the steps for the life of this worker."""
    with ExitStack() as stack:
        for function, wrapper in WRAPPERS:
            stack.enter_context(wrap_function(function, wrapper))
        yield


# -- the end of the worker


def kill_at(step: str) -> None:
    """Kill this worker if this is the step and no worker was killed there before."""
    if os.environ.get(STEP) != step:
        return
    try:
        os.close(os.open(os.environ[MARKER], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    kill_own_process()


def kill_own_process() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


def is_next(step: str) -> bool:
    """Return whether the next worker that comes to this step will be killed."""
    return os.environ.get(STEP) == step and not os.path.exists(os.environ[MARKER])  # noqa: PTH110


# -- wrappers


def wrap_claim(claim: Function) -> Function:
    return wrap(claim, BEFORE_CLAIM, AFTER_CLAIM, unread=IN_CLAIM)


def wrap_start(run_one: Function) -> Function:
    return wrap(run_one, AT_START)


def wrap_settle(settle: Function) -> Function:
    return wrap(settle, AFTER_CALLBACK, unread=IN_COMMIT)


def wrap_exchange(exchange: Function) -> Function:
    """Wrap the exchange of batches. Without a batch to settle it is a plain claim."""
    settling = wrap_settle(exchange)

    def wrapper(
        conn: psycopg.Connection[Any], done: UUID | None, *arguments: Any, **keywords: Any
    ) -> Any:
        return (exchange if done is None else settling)(conn, done, *arguments, **keywords)

    return wrapper


def wrap_end(end: Function) -> Function:
    """Wrap the end of a transaction. The commit that follows it is sent here in its step."""

    def end_and_commit(conn: psycopg.Connection[Any], *arguments: Any) -> None:
        end(conn, *arguments)
        if is_next(IN_COMMIT):
            send(psycopg.ClientCursor(conn), "commit", step=IN_COMMIT)

    return wrap(end_and_commit, AFTER_CALLBACK)


def wrap_finish(finish: Function) -> Function:
    return wrap(finish, AFTER_COMMIT)


def wrap(
    function: Function, before: str, after: str | None = None, *, unread: str | None = None
) -> Function:
    """Add the steps before and after a function.

    In the step `unread` the function sends its first statement, and the worker is killed before it
    reads the reply.
    """

    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        kill_at(before)
        if unread is not None and is_next(unread):
            with patch.object(
                psycopg.Cursor, "execute", lambda *statement, **_: send(*statement, step=unread)
            ):
                function(*arguments, **keywords)
        result = function(*arguments, **keywords)
        if after is not None:
            kill_at(after)
        return result

    return wrapper


def send(cursor: psycopg.Cursor[Any], query: Any, parameters: Any = None, *, step: str) -> None:
    """Send a statement, wait for its reply without reading it, and kill this worker."""
    pgconn = cursor.connection.pgconn
    pgconn.send_query(psycopg.ClientCursor(cursor.connection).mogrify(query, parameters).encode())
    while pgconn.flush():
        pass
    reply = select.poll()
    reply.register(pgconn.socket, select.POLLIN)
    assert reply.poll(REPLY_WITHIN_MS)
    kill_at(step)


# A worker that exits settles its last batch. Otherwise it exchanges it for the next one.
WRAPPERS: list[tuple[WrappedFunction, Callable[[Function], Function]]] = [
    (functions.CLAIM, wrap_claim),
    (functions.CLAIM_ONE, wrap_claim),
    (functions.RUN_LEASED, wrap_start),
    (functions.RUN_TRANSACTIONAL, wrap_start),
    (functions.EXCHANGE, wrap_exchange),
    (functions.SETTLE, wrap_settle),
    (functions.END, wrap_end),
    (functions.FINISH, wrap_finish),
]
