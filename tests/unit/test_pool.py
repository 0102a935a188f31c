"""The worker pool: wakeups, limits and the states of its slots."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from taskmaster import Consumer, SupervisorOptions
from taskmaster.processes.ipc.scoreboard import Phase, Scoreboard
from taskmaster.processes.ipc.wakeups import WakeupReader
from taskmaster.processes.supervisor.exits.worker_exit import (
    LimitExceeded,
    Shutdown,
    Usage,
    WorkerExit,
)
from taskmaster.processes.supervisor.pool.exit_report import worker_exit_of
from taskmaster.processes.supervisor.pool.limits import enforce_limits
from taskmaster.processes.supervisor.pool.pool import WorkerPool
from taskmaster.processes.supervisor.pool.slot import TRANSITIONS, WorkerState
from taskmaster.processes.supervisor.pool.waking import wake, wake_one_each
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.supervisor.snapshot import all_have_been_up, all_up

SIGKILLED = 9  # as a wait status


class Outbox:
    """Keeps what the pool wants to be written."""

    def __init__(self) -> None:
        self.exits: list[WorkerExit] = []
        self.released: list[tuple[UUID, Sequence[int]]] = []

    def settle(self, worker_exit: WorkerExit) -> None:
        self.exits.append(worker_exit)

    def release(self, token: UUID, ids: Sequence[int]) -> None:
        self.released.append((token, ids))


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def pool(outbox: Outbox) -> Iterator[WorkerPool]:
    """Two workers of one queue, without processes."""
    scoreboard = Scoreboard(2)
    consumer = Consumer("q", callback="never:called", concurrency=2)
    pool = WorkerPool([consumer], SupervisorOptions(), scoreboard, outbox)
    for slot in pool.slots:
        slot.process = WorkerProcess.create(
            slot.row,
            serial=slot.index,
            number=slot.index,
            name=f"worker {slot.index}",
            ordered_at=0.0,
        )
    yield pool
    pool.close()
    os.close(scoreboard.fd)


def take_wakeups(pool: WorkerPool) -> list[bool]:
    """Take the wakeups, and return which workers had one."""
    return [
        WakeupReader(os.dup(process.wakeups.reader_fd)).get(0.0) for process in pool.processes()
    ]


def set_phases(pool: WorkerPool, *phases: Phase) -> None:
    for slot, phase in zip(pool.slots, phases, strict=True):
        slot.row.phase = phase


def test_idle_worker_is_woken_rather_than_a_busy_one(pool: WorkerPool) -> None:
    set_phases(pool, Phase.WORKING, Phase.IDLE)
    wake(pool.slots, "q", 1)
    assert take_wakeups(pool) == [False, True]


def test_busy_workers_are_woken_if_no_worker_is_idle(
    pool: WorkerPool,
) -> None:
    set_phases(pool, Phase.WORKING, Phase.WORKING)
    wake(pool.slots, "q", 2)
    assert take_wakeups(pool) == [True, True]


def test_worker_has_one_wakeup_at_most(pool: WorkerPool) -> None:
    set_phases(pool, Phase.IDLE, Phase.WORKING)
    wake(pool.slots, "q", 100)
    wake(pool.slots, "q", 100)
    assert take_wakeups(pool) == [True, True]
    assert take_wakeups(pool) == [False, False]


def test_heartbeat_wakes_one_idle_worker_and_no_busy_one(pool: WorkerPool) -> None:
    set_phases(pool, Phase.WORKING, Phase.IDLE)
    wake_one_each(pool.slots)
    assert take_wakeups(pool) == [False, True]


def test_limit_of_an_earlier_run_does_not_affect_the_next(
    pool: WorkerPool,
) -> None:
    slot = pool.slots[0]
    assert slot.process is not None
    slot.consumer, slot.process.pid = replace(slot.consumer, timeout_seconds=60.0), os.getpid()
    slot.row.batch.begin(uuid4(), [7])
    slot.row.batch.start_job(1)
    run = slot.row.batch.current_run()
    assert run is not None
    earlier = LimitExceeded(
        job_id=7, started_ns=run.started_ns - 1, cause="timeout", sentence="still running"
    )
    slot.process.limit = earlier
    enforce_limits(slot, now=1.0)
    assert slot.process.limit is None
    slot.process.limit = earlier
    worker_exit = worker_exit_of(slot, "signal SIGKILL", Usage())
    # We killed it too late, so no job is charged.
    assert worker_exit.reason == Shutdown("timeout")


def test_pool_is_ready_when_each_slot_has_been_up_once(
    pool: WorkerPool,
) -> None:
    first, second = pool.slots
    for slot in pool.slots:
        assert slot.process is not None
        slot.process.pid = 1_000 + slot.index
    set_phases(pool, Phase.WORKING, Phase.BOOTING)
    assert not all_have_been_up(pool.slots)
    pool.on_exit(1_000, SIGKILLED, Usage())
    first.row.clear()
    assert not all_have_been_up(pool.slots)
    set_phases(pool, Phase.BOOTING, Phase.IDLE)
    assert all_have_been_up(pool.slots)
    assert not all_up(pool.slots)
    assert second.state is WorkerState.IDLE


def test_state_follows_process_and_row(pool: WorkerPool) -> None:
    slot = pool.slots[0]
    process = slot.process
    assert process is not None
    seen = [slot.state]
    process.pid = 1_000
    seen.append(slot.state)
    for phase in (Phase.IDLE, Phase.WORKING, Phase.EXITING):
        slot.row.phase = phase
        seen.append(slot.state)
    pool.on_exit(1_000, 0, Usage())
    seen.append(slot.state)
    assert seen == ["starting", "booting", "idle", "busy", "exiting", "vacant"]


def test_woken_worker_counts_as_busy(pool: WorkerPool) -> None:
    slot = pool.slots[0]
    assert slot.process is not None
    slot.process.pid, slot.row.phase = 1_000, Phase.IDLE
    before, was_woken, after = slot.state, slot.wake(), slot.state
    assert (before, was_woken, after) == (WorkerState.IDLE, True, WorkerState.BUSY)


def test_parked_worker_is_not_woken(pool: WorkerPool) -> None:
    slot = pool.slots[0]
    assert slot.process is not None
    slot.process.pid, slot.process.is_parked, slot.row.phase = 1_000, True, Phase.IDLE
    before, was_woken = slot.state, slot.wake()
    slot.unpark()
    assert (before, was_woken, slot.state) == (WorkerState.PARKED, False, WorkerState.BUSY)


def test_every_state_can_be_left_and_reached() -> None:
    assert set(TRANSITIONS) == set(WorkerState)
    reachable = {state for following in TRANSITIONS.values() for state in following}
    assert reachable == set(WorkerState)


def test_each_state_follows_from_process_and_row(pool: WorkerPool) -> None:
    slot = pool.slots[0]
    process = slot.process
    assert process is not None
    limit = LimitExceeded(job_id=7, started_ns=1, cause="timeout", sentence="still running")
    process.pid = 1_000
    arranged = {
        WorkerState.BOOTING: (Phase.BOOTING, False, None),
        WorkerState.PARKED: (Phase.IDLE, True, None),
        WorkerState.IDLE: (Phase.IDLE, False, None),
        WorkerState.BUSY: (Phase.WORKING, False, None),
        WorkerState.CONDEMNED: (Phase.WORKING, False, limit),
        WorkerState.EXITING: (Phase.EXITING, False, None),
    }
    for state, (phase, is_parked, condemned_for) in arranged.items():
        slot.row.phase, process.is_parked, process.limit = phase, is_parked, condemned_for
        assert slot.state is state
    assert set(arranged) | {WorkerState.VACANT, WorkerState.STARTING} == set(WorkerState)
