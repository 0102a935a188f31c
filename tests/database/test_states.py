"""Each operation moves a job along the arrows of the state machine, or does nothing."""

from collections.abc import Callable

import pytest

from taskmaster.job import TRANSITIONS, State
from taskmaster.settlement import Settlement, release
from taskmaster.store import jobs, leases
from taskmaster.store.connection import Connection
from tests.support.store import claim, claimed, put, register, rejected, rescue, states

# The states that a job can be in: acked jobs are not kept yet, and no job can be cancelled.
STORED = (State.READY, State.SCHEDULED, State.RUNNING, State.REJECTED)
FAR = 3600.0


def bring(conn: Connection, state: State) -> int:
    """Return the id of a job that is in this state."""
    match state:
        case State.READY:
            return put(conn)
        case State.SCHEDULED:
            return put(conn, delay=FAR)
        case State.RUNNING:
            job_id = put(conn)
            claimed(conn, supervisor=register(conn))
            return job_id
        case _:
            return rejected(conn)


def claims(conn: Connection, job_id: int) -> object:
    return claim(conn)


def promotes_early(conn: Connection, job_id: int) -> object:
    return jobs.promote(conn)


def promotes_in_time(conn: Connection, job_id: int) -> object:
    conn.execute("update scheduled set run_at = clock_timestamp() - interval '1 s'")
    return jobs.promote(conn)


def requeues(conn: Connection, job_id: int) -> object:
    return jobs.requeue(conn, [job_id])


def requeues_the_queue(conn: Connection, job_id: int) -> object:
    return jobs.requeue_queue(conn, "q")


def requeues_by_sql(conn: Connection, job_id: int) -> object:
    return conn.execute("select taskmaster.requeue(%s)", (job_id,)).fetchone()


def deletes(conn: Connection, job_id: int) -> object:
    return jobs.delete(conn, [job_id])


def deletes_the_queue(conn: Connection, job_id: int) -> object:
    return jobs.delete_queue(conn, "q", None)


def deletes_the_rejected(conn: Connection, job_id: int) -> object:
    return jobs.delete_queue(conn, "q", State.REJECTED)


def settles(*settlements: Callable[[int], Settlement]) -> Callable[[Connection, int], object]:
    def settle(conn: Connection, job_id: int) -> object:
        row = conn.execute("select token from leases").fetchone()
        return row and leases.settle(
            conn, row[0], [settlement(job_id) for settlement in settlements]
        )

    return settle


def releases(conn: Connection, job_id: int) -> object:
    row = conn.execute("select token from leases").fetchone()
    return row and leases.release(conn, row[0], [job_id])


def rescues(conn: Connection, job_id: int) -> object:
    row = conn.execute("select supervisor from leases").fetchone()
    return row and rescue(conn, row[0])


def orphans(conn: Connection, job_id: int) -> object:
    row = conn.execute("select supervisor from leases").fetchone()
    return row and leases.release_orphans(conn, row[0], [])


GONE = None
# Each operation, and the state to which it moves a job from each state. In others it does nothing.
OPERATIONS: dict[str, tuple[Callable[[Connection, int], object], dict[State, State | None]]] = {
    "claim": (claims, {State.READY: State.RUNNING}),
    "promote early": (promotes_early, {}),
    "promote in time": (promotes_in_time, {State.SCHEDULED: State.READY}),
    "requeue": (requeues, {State.REJECTED: State.READY}),
    "requeue queue": (requeues_the_queue, {State.REJECTED: State.READY}),
    "requeue by SQL": (requeues_by_sql, {State.REJECTED: State.READY}),
    "delete": (deletes, {State.READY: GONE, State.SCHEDULED: GONE, State.REJECTED: GONE}),
    "delete queue": (
        deletes_the_queue,
        {State.READY: GONE, State.SCHEDULED: GONE, State.REJECTED: GONE},
    ),
    "delete rejected": (deletes_the_rejected, {State.REJECTED: GONE}),
    "ack": (settles(), {State.RUNNING: GONE}),
    "reject": (
        settles(lambda n: Settlement(n, State.REJECTED, charged=True)),
        {State.RUNNING: State.REJECTED},
    ),
    "retry": (
        settles(lambda n: Settlement(n, State.SCHEDULED, delay_seconds=9)),
        {State.RUNNING: State.SCHEDULED},
    ),
    "release at the end": (settles(release), {State.RUNNING: State.READY}),
    "release": (releases, {State.RUNNING: State.READY}),
    "rescue": (rescues, {State.RUNNING: State.READY}),
    "release orphans": (orphans, {State.RUNNING: State.READY}),
}
DELETIONS = {"delete", "delete queue", "delete rejected"}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STORED, ids=str)
def test_operations_follow_the_arrows_of_the_state_machine(
    conn: Connection, state: State, operation: str
) -> None:
    act, arrows = OPERATIONS[operation]
    job_id = bring(conn, state)
    assert states(conn) == {job_id: state}
    act(conn, job_id)
    after = states(conn).get(job_id)
    assert after == arrows.get(state, state)
    if after not in (state, GONE):
        assert after in TRANSITIONS[state]


def test_every_arrow_between_stored_states_has_an_operation() -> None:
    walked = {
        (before, after)
        for _, arrows in OPERATIONS.values()
        for before, after in arrows.items()
        if after
    }
    wanted = {
        (before, after) for before in STORED for after in TRANSITIONS[before] if after in STORED
    }
    assert walked == wanted


def test_a_requeued_job_is_reset_and_keeps_its_history(conn: Connection) -> None:
    job_id = rejected(conn)
    jobs.requeue(conn, [job_id])
    record = jobs.get(conn, job_id)
    assert record is not None
    assert (record.state, record.run_count, len(record.failures)) == (State.READY, 0, 1)
    assert claimed(conn).jobs[0].run_count == 1


def test_requeue_returns_only_ids_that_were_rejected(conn: Connection) -> None:
    bad, good = rejected(conn), put(conn)
    assert jobs.requeue(conn, [bad, good, 424242]) == [bad]
    assert jobs.requeue(conn, [bad]) == []


def test_the_view_shows_every_job_once_in_each_state(conn: Connection) -> None:
    wanted = {
        bring(conn, state): state
        for state in (State.REJECTED, State.RUNNING, State.SCHEDULED, State.READY)
    }
    assert states(conn) == wanted
    running = next(job_id for job_id, state in wanted.items() if state == State.RUNNING)
    record = jobs.get(conn, running)
    assert record is not None
    assert record.worker is not None
    assert record.run_count == 1


def test_a_job_keeps_its_id_through_all_its_states(conn: Connection) -> None:
    job_id = put(conn, delay=FAR)
    promotes_in_time(conn, job_id)
    claims(conn, job_id)
    settles(lambda n: Settlement(n, State.REJECTED, charged=True))(conn, job_id)
    requeues(conn, job_id)
    assert states(conn) == {job_id: State.READY}


def test_counts_are_by_queue_and_state(conn: Connection) -> None:
    for state in (
        State.REJECTED,
        State.RUNNING,
        State.SCHEDULED,
        State.READY,
    ):  # a claim takes what is ready
        bring(conn, state)
    put(conn, queue="other")
    found = {(count.queue_name, count.state): count.jobs for count in jobs.counts(conn)}
    assert found == {**{("q", state): 1 for state in STORED}, ("other", State.READY): 1}
    assert all(0 <= count.oldest_seconds < 60 for count in jobs.counts(conn))


def test_promotion_follows_and_returns_due_times(conn: Connection) -> None:
    soon, later = put(conn, delay=60), put(conn, delay=FAR)
    moved, due = jobs.promote(conn)
    assert moved == 0
    assert due is not None
    assert 50 < due <= 60
    conn.execute("update scheduled set run_at = clock_timestamp() where id = %s", (soon,))
    moved, due = jobs.promote(conn)
    assert moved == 1
    assert due is not None
    assert due > FAR - 60
    assert states(conn) == {soon: State.READY, later: State.SCHEDULED}
    jobs.delete(conn, [later])
    assert jobs.promote(conn) == (0, None)


def test_two_promotions_at_once_do_not_double_a_job(
    conn: Connection, connection: Callable[[], Connection]
) -> None:
    job_id = put(conn, delay=FAR)
    conn.execute("update scheduled set run_at = clock_timestamp()")
    other = connection()
    with other.transaction():
        assert jobs.promote(other)[0] == 1
        assert jobs.promote(conn)[0] == 0
    assert states(conn) == {job_id: State.READY}
