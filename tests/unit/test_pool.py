"""Whom the supervisor wakes, seen from the workers' ends of the wakeup queues."""

import os
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from taskmaster import Consumer, SupervisorOptions
from taskmaster.processes.ledger.worker_exit import Usage
from taskmaster.processes.pool.cause import worker_exit_of
from taskmaster.processes.pool.pool import WorkerPool
from taskmaster.processes.pool.worker_process import WorkerProcess
from taskmaster.processes.shared.limits import Excess
from taskmaster.processes.shared.scoreboard import (
    BOOTING,
    IDLE,
    PHASE,
    STARTED,
    STARTED_AT,
    WORKING,
    Scoreboard,
)
from taskmaster.processes.shared.wakeups import WakeupReader

SIGKILLED = 9  # as a wait status


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Two workers for one queue, which are no processes."""
    scoreboard = Scoreboard(2)
    pool = WorkerPool(
        [Consumer("q", callback="nobody:calls", concurrency=2)], SupervisorOptions(), scoreboard
    )
    for slot in pool.slots:
        slot.process = WorkerProcess(slot.index, slot.index, f"worker {slot.index}", 0.0)
    yield pool
    for process in pool.processes():
        process.close()
    os.close(scoreboard.fd)


def woken(pool: WorkerPool) -> list[bool]:
    """Which workers find a wakeup."""
    return [
        WakeupReader(os.dup(process.wakeups.reader_fd)).get(0.0) for process in pool.processes()
    ]


def phases(pool: WorkerPool, *phases: int) -> None:
    for slot, phase in zip(pool.slots, phases, strict=True):
        slot.row.cells[PHASE] = phase


def test_an_idle_worker_is_woken_rather_than_a_busy_one(pool: WorkerPool) -> None:
    phases(pool, WORKING, IDLE)
    pool.wake("q", 1)
    assert woken(pool) == [False, True]


def test_a_worker_about_to_go_idle_is_told_of_a_job_that_comes_after_its_last_look(
    pool: WorkerPool,
) -> None:
    phases(pool, WORKING, WORKING)
    pool.wake("q", 2)
    assert woken(pool) == [True, True]


def test_a_worker_has_one_wakeup_at_most_however_many_jobs_come(pool: WorkerPool) -> None:
    phases(pool, IDLE, WORKING)
    pool.wake("q", 100)
    pool.wake("q", 100)
    assert woken(pool) == [True, True]
    assert woken(pool) == [False, False]


def test_a_heartbeat_wakes_one_idle_worker_and_no_busy_one(pool: WorkerPool) -> None:
    phases(pool, WORKING, IDLE)
    pool.wake_one_each()
    assert woken(pool) == [False, True]


def test_a_run_that_ended_just_in_time_leaves_the_next_run_of_its_job_in_peace(
    pool: WorkerPool,
) -> None:
    slot = pool.slots[0]
    assert slot.process is not None
    slot.consumer, slot.process.pid = replace(slot.consumer, timeout_seconds=60.0), os.getpid()
    slot.row.begin(uuid4(), [7])
    slot.row.cells[STARTED_AT], slot.row.cells[STARTED] = 1, 1
    slot.process.condemned = Excess(7, 1, "timeout", "still running")
    slot.row.cells[STARTED_AT] = 2
    slot.enforce_limits(now=1.0)
    assert slot.process.condemned is None
    slot.process.condemned = Excess(7, 1, "timeout", "still running")
    worker_exit = worker_exit_of(slot, slot.process, "signal SIGKILL", Usage())
    assert (worker_exit.excess, worker_exit.cut_off) == (
        None,
        True,
    )  # killed by us, too late: nobody is charged


def test_a_supervisor_whose_first_jobs_kill_their_workers_is_ready_when_each_place_has_had_one(
    pool: WorkerPool,
) -> None:
    first, second = pool.slots
    for slot in pool.slots:
        assert slot.process is not None
        slot.process.pid = 1_000 + slot.index
    phases(pool, WORKING, BOOTING)
    assert not pool.proven()
    pool.died(1_000, SIGKILLED, Usage())
    first.row.clear()
    assert not pool.proven()
    phases(pool, BOOTING, IDLE)
    assert pool.proven()
    assert not pool.booted()
    assert second.alive
