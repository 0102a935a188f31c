"""The promise of each delivery at each step where its worker is killed, and broken transactions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.consumer import DELIVERIES, Delivery
from taskmaster.middleware import CrashReport
from taskmaster.settlement import Settlement
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.kill_steps import (
    AFTER_CALLBACK,
    AT_START,
    IN_CALLBACK,
    KILL_AT_STEP,
    MARKER,
    STEP,
    STEPS,
)
from tests.support.store import leases_left, put, register, states
from tests.support.transactional_callbacks import ACT
from tests.support.worker_exits import (
    batch_of_one,
    exit_of,
    flush,
    has_pending,
    pending_settlements,
)
from tests.support.wrapped_functions import CHARGE_LOST, RELEASE_UNACKNOWLEDGED, wrap_function

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "deliveries.md"
RESCUE: dict[str, Any] = {"heartbeat_seconds": 0.1, "gone_after_seconds": 1.0}
SOON = 0.02
FAR_SECONDS = 60.0  # for what must not happen during the test

# The runs of a job with max_runs = 2 that busy workers take each time before it is charged.
MOST_RUNS = 40


class Fate(NamedTuple):
    """The end of a job, and what its callback did: runs begun and finished, effects committed.

    `run_count` and `crashes` are those of the last run. Those of an acked job are what its callback
    saw.
    """

    end: str
    began: int
    finished: int
    effects: int
    run_count: int
    crashes: int

    def __str__(self) -> str:
        if self == PLAIN:
            return "acked, once"
        return (
            f"{self.end}; began {self.began}, finished {self.finished}, effects {self.effects}, "
            f"run_count {self.run_count}, crashes {self.crashes}"
        )


PLAIN = Fate("acked", began=1, finished=1, effects=1, run_count=1, crashes=0)
# Every step at which a worker is killed. A step that is not named here changes nothing.
FATES: dict[tuple[str, Delivery], Fate] = {
    (step, delivery): PLAIN for step in STEPS for delivery in DELIVERIES
} | {
    (AT_START, "at_least_once"): Fate(
        "acked", began=1, finished=1, effects=1, run_count=2, crashes=1
    ),
    (AT_START, "at_most_once"): Fate(
        "rejected", began=0, finished=0, effects=0, run_count=1, crashes=1
    ),
    (AT_START, "transactional"): Fate(
        "acked", began=1, finished=1, effects=1, run_count=2, crashes=1
    ),
    (IN_CALLBACK, "at_least_once"): Fate(
        "acked", began=2, finished=1, effects=2, run_count=2, crashes=1
    ),
    (IN_CALLBACK, "at_most_once"): Fate(
        "rejected", began=1, finished=0, effects=1, run_count=1, crashes=1
    ),
    (IN_CALLBACK, "transactional"): Fate(
        "acked", began=2, finished=1, effects=1, run_count=2, crashes=1
    ),
    (AFTER_CALLBACK, "transactional"): Fate(
        "acked", began=2, finished=2, effects=1, run_count=1, crashes=0
    ),
}


@pytest.fixture(autouse=True)
def effects(conn: Connection) -> None:
    """Create a table for the effects of callbacks, and one that is checked at commit."""
    conn.execute("create table public.effects (job bigint)")
    conn.execute("create table public.strict (id int unique deferrable initially deferred)")


def effects_of(conn: Connection, job_id: int) -> int:
    row = conn.execute("select count(*) from public.effects where job = %s", (job_id,)).fetchone()
    assert row is not None
    return int(row[0])


def consumer(delivery: Delivery = "transactional", **options: Any) -> Consumer:
    return Consumer("q", callback=ACT, delivery=delivery, **{"retry_base_seconds": SOON, **options})


def is_settled(admin: Admin) -> bool:
    return all(record.state == State.REJECTED for record in admin.find())


def fate(conn: Connection, journal: Journal, job_id: int) -> Fate:
    runs = journal.runs_of(job_id)
    counted = conn.execute(
        "select run_count, crashes from rejected where id = %s", (job_id,)
    ).fetchone()
    if counted is None:
        last = next(line for line in reversed(journal.lines("began")) if line["id"] == job_id)
        counted = last["run"], last["crashes"]
    return Fate(
        str(states(conn).get(job_id, "acked")),
        began=len(runs),
        finished=sum(run.ended is not None for run in runs),
        effects=effects_of(conn, job_id),
        run_count=counted[0],
        crashes=counted[1],
    )


# -- the contracts


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("step", STEPS)
def test_worker_killed_at_any_step_keeps_its_deliverys_promise(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    delivery: Delivery,
) -> None:
    marker = tmp_path / "killed"
    monkeypatch.setenv(STEP, step)
    monkeypatch.setenv(MARKER, str(marker))
    payload = {} if delivery == "transactional" else {"url": database_url}
    job_id = publisher.put("q", payload)
    # A lost transaction is charged when its lock is gone. No successor may have started by then.
    late = delivery == "transactional" and FATES[step, delivery].crashes
    restart_seconds = 1.0 if late else 0.01
    with supervise(
        consumer(delivery, component=KILL_AT_STEP),
        restart_base_seconds=restart_seconds,
        restart_max_seconds=restart_seconds,
    ):
        eventually(marker.exists)
        eventually(lambda: is_settled(admin))
        later = publisher.put("q", payload)
        eventually(lambda: later in journal.finished() and is_settled(admin))
        assert fate(conn, journal, later) == PLAIN
    assert fate(conn, journal, job_id) == FATES[step, delivery]
    assert leases_left(conn) == 0


def test_no_step_is_expected_to_break_a_promise() -> None:
    for (_, delivery), expected in FATES.items():
        assert expected.end == "acked" or delivery == "at_most_once"
        assert expected.began <= 1 or delivery != "at_most_once"
        assert expected.effects == 1 or delivery != "transactional"


def table() -> str:
    """Return FATES as a table in Markdown."""
    lines = [
        ["the worker is killed", *(f"`{delivery}`" for delivery in DELIVERIES)],
        ["---"] * (1 + len(DELIVERIES)),
    ]
    lines += [[step, *(str(FATES[step, delivery]) for delivery in DELIVERIES)] for step in STEPS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_page_on_deliveries_shows_what_the_tests_assert(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print(table())
    assert capsys.readouterr().out in PAGE.read_text()


# -- transactional: what callbacks do to their transaction


@pytest.mark.parametrize(
    ("do", "state", "causes"),
    [
        ("raise", State.SCHEDULED, ["exception"]),
        ("reject", State.REJECTED, ["rejected"]),
        ("retry", State.SCHEDULED, ["retry"]),
        ("snooze", State.SCHEDULED, []),
    ],
)
def test_transactional_run_that_does_not_ack_leaves_no_write(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    do: str,
    state: State,
    causes: list[str],
) -> None:
    job_id = publisher.put("q", {"do": do})
    with supervise(consumer(retry_base_seconds=FAR_SECONDS)):
        eventually(lambda: admin.get(job_id).state == state)
    record = admin.get(job_id)
    assert ([failure.cause for failure in record.failures], record.run_count) == (
        causes,
        len(causes),
    )
    assert effects_of(conn, job_id) == 0
    assert len(journal.runs_of(job_id)) == 1


@pytest.mark.parametrize(
    ("do", "cause", "message", "left"),
    [
        ("swallow", "exception", "acked after a database error", 0),
        ("commit", "exception", "ended the transaction", 1),
        ("commit_and_begin", "exception", "was not committed", 1),
        ("rollback", "exception", "ended the transaction", 0),
        ("commit_by_method", "exception", "commit() forbidden", 0),
        ("deferred", "exception", "duplicate key value", 0),
        ("close", "lost database", "connection", 0),
        ("close_and_raise", "exception", "boom", 0),
    ],
)
def test_spoiled_transaction_is_charged_to_its_own_job_only(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    conn: Connection,
    do: str,
    cause: str,
    message: str,
    left: int,
) -> None:
    """`left` is the number of rows that the callback itself commits in each of its two runs."""
    with supervise(consumer(max_runs=2)) as supervisor:
        worker = supervisor.worker()
        job_id = publisher.put("q", {"do": do})
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
        good = publisher.put("q", {})
        eventually(lambda: is_settled(admin))
        assert supervisor.worker() == worker
    record = admin.get(job_id)
    assert [(failure.cause, failure.run) for failure in record.failures] == [
        (cause, 1),
        (cause, 2),
    ]
    assert all(message in failure.message for failure in record.failures)
    assert [run.run for run in journal.runs_of(job_id)] == [1, 2]
    assert (effects_of(conn, job_id), effects_of(conn, good)) == (2 * left, 1)


def test_database_error_inside_a_savepoint_fails_no_run(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    job_id = publisher.put("q", {"do": "savepoint"})
    with supervise(consumer()):
        eventually(lambda: admin.find() == [])
    assert fate(conn, journal, job_id) == PLAIN


@pytest.mark.parametrize(
    ("do", "failed"),
    [
        ("use_after_hold", [("lost database", 1)]),
        ("raise_after_hold", [("exception", 1)]),
        ("ack_after_hold", [("lost database", 1)]),
    ],
)
def test_terminated_transaction_takes_effect_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
    do: str,
    failed: list[tuple[str, int]],
) -> None:
    job_id = publisher.put("q", {"do": do})
    with supervise(consumer(retry_base_seconds=FAR_SECONDS)) as supervisor:
        worker = supervisor.worker()
        (line,) = eventually(lambda: journal.lines("backend"))
        conn.execute("select pg_terminate_backend(%s, 10000)", (line["backend"],))
        gates.open()
        if failed:
            eventually(lambda: admin.get(job_id).state == State.SCHEDULED)
            record = admin.get(job_id)
            assert [(failure.cause, failure.run) for failure in record.failures] == failed
            assert (record.run_count, effects_of(conn, job_id)) == (1, 0)
            conn.execute("update scheduled set run_at = clock_timestamp()")
        eventually(lambda: admin.find() == [])
        assert supervisor.worker() == worker
    assert effects_of(conn, job_id) == 1
    assert [run.run for run in journal.runs_of(job_id)] == [1, 1 + len(failed)]


@pytest.mark.parametrize(
    ("do", "cause"), [("spin_and_close", "lost database"), ("spin_and_crash", "signal SIGKILL")]
)
def test_job_that_loses_its_transactions_is_rejected_in_the_end(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, do: str, cause: str
) -> None:
    """Busy workers take the job when its lock is gone. A charge must come first, and often does."""
    publisher.put_many("q", [{"do": "spin", "seconds": 0.005}] * 3000, priority=5)
    job_id = publisher.put("q", {"do": do, "seconds": 0.3})
    with supervise(consumer(concurrency=4, max_runs=2, max_crashes=2)):
        eventually(lambda: admin.get(job_id).state == State.REJECTED, within=40.0)
        admin.delete_queue("q", state=State.READY)
    assert [(failure.cause, failure.run) for failure in admin.get(job_id).failures] == [
        (cause, 1),
        (cause, 2),
    ]
    assert 2 <= len(journal.runs_of(job_id)) <= MOST_RUNS


def test_two_crashes_behind_one_lock_are_both_charged(
    conn: Connection, connection: Callable[[], Connection], admin: Admin
) -> None:
    """Charge the runs in order. Each was the first when it began, because none was written."""
    job_id, us = put(conn), register(conn)
    crashes: list[CrashReport] = []
    outbox, neighbour = pending_settlements(conn, us, crashes), connection()
    with neighbour.transaction():
        neighbour.execute("select from ready for update")
        for worker in ("one", "two"):
            batch = batch_of_one(job_id)
            outbox.settle(exit_of(consumer(max_crashes=2), batch, worker=worker))
            flush(outbox, conn)
        assert (states(conn), has_pending(outbox), crashes) == (
            {job_id: State.READY},
            True,
            [],
        )
    flush(outbox, conn)
    assert (states(conn), has_pending(outbox)) == ({job_id: State.REJECTED}, False)
    record = admin.get(job_id)
    assert [(failure.run, failure.worker) for failure in record.failures] == [
        (1, "one"),
        (2, "two"),
    ]
    assert [crash.rejected for crash in crashes] == [False, True]


@pytest.mark.parametrize("place", ["after the charge", "before the charge", "at the next charge"])
def test_crash_is_charged_once_if_the_database_fails(
    conn: Connection, admin: Admin, place: str
) -> None:
    first, second = put(conn), put(conn)
    outbox = pending_settlements(conn, register(conn))
    for job_id in (first, second):
        outbox.settle(exit_of(consumer(max_crashes=9), batch_of_one(job_id), worker="one"))
    failures: list[str] = []

    def fail_after_charge(charge_lost: Callable[..., Any]) -> Callable[..., Any]:
        def charge(conn: Connection, schema: str, settlement: Settlement, **options: Any) -> Any:
            result = charge_lost(conn, schema, settlement, **options)
            wanted = second if place == "at the next charge" else first
            if not failures and settlement.id == wanted:
                failures.append(place)
                raise psycopg.OperationalError("the reply was lost")
            return result

        return charge

    def fail_once(release: Callable[..., Any]) -> Callable[..., Any]:
        def release_or_fail(*arguments: Any, **options: Any) -> Any:
            if failures:
                return release(*arguments, **options)
            failures.append(place)
            raise psycopg.OperationalError("the connection was lost")

        return release_or_fail

    with (
        wrap_function(RELEASE_UNACKNOWLEDGED, fail_once)
        if place == "before the charge"
        else wrap_function(CHARGE_LOST, fail_after_charge)
    ):
        with pytest.raises(psycopg.OperationalError):
            flush(outbox, conn)
        flush(outbox, conn)
    assert failures
    assert not has_pending(outbox)
    assert [(job.run_count, len(job.failures)) for job in admin.find()] == [(1, 1), (1, 1)]


def test_session_changes_of_a_callback_do_not_reach_the_next_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer(max_runs=1)) as supervisor:
        worker = supervisor.worker()
        for do in ("note the session", "change the session", "note the session"):
            publisher.put("q", {"do": do})
        eventually(lambda: admin.find() == [])
        assert supervisor.worker() == worker
    before, after = (line["values"] for line in journal.lines("session"))
    assert after == before


def test_two_transactional_workers_never_run_one_job_at_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    with supervise(consumer(concurrency=2)), supervise(consumer(concurrency=2)):
        ids = publisher.put_many("q", [{"do": "hold"}] * 4)
        eventually(lambda: len(journal.began()) == 4)  # each has one
        ids += publisher.put_many("q", [{}] * 200)
        gates.open()
        eventually(lambda: admin.find() == [])
    assert sorted(journal.began()) == ids
    assert len({run.pid for run in journal.runs()}) == 4
    assert [effects_of(conn, job_id) for job_id in ids] == [1] * len(ids)


def test_running_transactional_job_is_not_started_again(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(consumer(concurrency=3)):
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        others = publisher.put_many("q", [{}] * 20)
        eventually(lambda: sorted(journal.finished()) == others)
        gates.open()
        eventually(lambda: admin.find() == [])
    assert sorted(journal.began()) == [held, *others]


def test_transactional_callback_has_the_search_path_of_its_role(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, conn: Connection
) -> None:
    conn.execute("create schema mine create table here (job bigint)")
    conn.execute(
        "do $$ begin execute format('alter role %I in database %I set search_path = mine, public',"
        " current_user, current_database()); end $$"
    )
    job_id = publisher.put("q", {"do": "search_path"})
    with supervise(consumer()):
        eventually(lambda: admin.find() == [])
    paths = [line["path"] for line in journal.lines("path")]
    assert paths == ["mine, public"] * 2  # after a failed run too
    assert conn.execute("select job from mine.here").fetchall() == [(job_id,)]


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
def test_job_connection_of_another_delivery_is_refused(
    supervise: Supervise, publisher: Publisher, admin: Admin, delivery: Delivery
) -> None:
    job_id = publisher.put("q", {})
    with supervise(consumer(delivery, max_runs=1)):
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    assert failure.message.endswith(
        "TaskmasterError: job.connection exists only for consumers with delivery = 'transactional'"
    )


# -- at_most_once: no second run, whatever ended the first


@pytest.mark.parametrize(
    ("do", "cause", "message"),
    [
        ("raise", "exception", "boom"),
        ("retry", "retry", "later"),
        ("snooze", "rejected", "never runs a job again"),
    ],
)
def test_at_most_once_job_is_rejected_instead_of_rerun(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    database_url: str,
    do: str,
    cause: str,
    message: str,
) -> None:
    job_id = publisher.put("q", {"do": do, "url": database_url})
    with supervise(consumer("at_most_once")):
        eventually(lambda: is_settled(admin))
        later = publisher.put("q", {"url": database_url})
        eventually(lambda: later in journal.finished() and is_settled(admin))
    (failure,) = admin.get(job_id).failures
    assert (failure.cause, failure.run, admin.get(job_id).run_count) == (cause, 1, 1)
    assert message in failure.message
    assert journal.began() == [job_id, later]


def test_at_most_once_job_cut_off_by_shutdown_is_rejected(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    database_url: str,
) -> None:
    held, waiting = publisher.put_many(
        "q", [{"do": "hold", "url": database_url}, {"url": database_url}]
    )
    with supervise(
        consumer("at_most_once", batch=2), grace_seconds=0.1, slow_after_seconds=FAR_SECONDS
    ) as supervisor:
        eventually(lambda: journal.began() == [held])
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    assert admin.get(waiting).state == State.READY
    assert_rejected_for_good(supervise, admin, journal, gates, held, cause="shutdown")
    assert journal.began() == [held, waiting]


def test_at_most_once_job_whose_host_is_lost_is_rejected(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    database_url: str,
) -> None:
    job_id = publisher.put("q", {"do": "hold", "url": database_url})
    with supervise(consumer("at_most_once"), **RESCUE) as lost:
        eventually(lambda: journal.began() == [job_id])
        lost.kill()
    assert_rejected_for_good(supervise, admin, journal, gates, job_id, cause="lost host")
    assert journal.began() == [job_id]


def assert_rejected_for_good(
    supervise: Supervise, admin: Admin, journal: Journal, gates: Gates, job_id: int, *, cause: str
) -> None:
    """Assert that another supervisor runs all other jobs and not this one."""
    gates.open()
    with supervise(consumer("at_most_once"), **RESCUE):
        eventually(
            lambda: (
                [(record.id, record.state) for record in admin.find()] == [(job_id, State.REJECTED)]
            )
        )
    record = admin.get(job_id)
    (failure,) = record.failures
    assert (failure.cause, failure.run, record.run_count) == (cause, 1, 1)


def test_transactional_job_cut_off_by_shutdown_runs_again(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    job_id = publisher.put("q", {"do": "hold"})
    with supervise(consumer(), grace_seconds=0.1) as supervisor:
        eventually(lambda: journal.began() == [job_id])
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0
    gates.open()
    with supervise(consumer()):
        eventually(lambda: admin.find() == [])
    assert [run.run for run in journal.runs_of(job_id)] == [1, 1]
    assert effects_of(conn, job_id) == 1
