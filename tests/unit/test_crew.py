"""Whom the supervisor wakes, seen from the workers' ends of the wakeup queues."""

import os
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from taskmaster import Consumer, SupervisorOptions
from taskmaster.processes.crew.coroner import death_of
from taskmaster.processes.crew.crew import Crew
from taskmaster.processes.crew.life import Life
from taskmaster.processes.ledger.death import Usage
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
def crew() -> Iterator[Crew]:
    """Two workers for one queue, which are no processes."""
    scoreboard = Scoreboard(2)
    crew = Crew(
        [Consumer("q", callback="nobody:calls", concurrency=2)], SupervisorOptions(), scoreboard
    )
    for member in crew.members:
        member.life = Life(member.index, member.index, f"worker {member.index}", 0.0)
    yield crew
    for life in crew.lives():
        life.close()
    os.close(scoreboard.fd)


def woken(crew: Crew) -> list[bool]:
    """Which workers find a wakeup."""
    return [WakeupReader(os.dup(life.wakeups.reader_fd)).get(0.0) for life in crew.lives()]


def phases(crew: Crew, *phases: int) -> None:
    for member, phase in zip(crew.members, phases, strict=True):
        member.row.cells[PHASE] = phase


def test_an_idle_worker_is_woken_rather_than_a_busy_one(crew: Crew) -> None:
    phases(crew, WORKING, IDLE)
    crew.wake("q", 1)
    assert woken(crew) == [False, True]


def test_a_worker_about_to_go_idle_is_told_of_a_job_that_comes_after_its_last_look(
    crew: Crew,
) -> None:
    phases(crew, WORKING, WORKING)
    crew.wake("q", 2)
    assert woken(crew) == [True, True]


def test_a_worker_has_one_wakeup_at_most_however_many_jobs_come(crew: Crew) -> None:
    phases(crew, IDLE, WORKING)
    crew.wake("q", 100)
    crew.wake("q", 100)
    assert woken(crew) == [True, True]
    assert woken(crew) == [False, False]


def test_a_heartbeat_wakes_one_idle_worker_and_no_busy_one(crew: Crew) -> None:
    phases(crew, WORKING, IDLE)
    crew.wake_one_each()
    assert woken(crew) == [False, True]


def test_a_run_that_ended_just_in_time_leaves_the_next_run_of_its_job_in_peace(crew: Crew) -> None:
    member = crew.members[0]
    assert member.life is not None
    member.consumer, member.life.pid = replace(member.consumer, timeout_seconds=60.0), os.getpid()
    member.row.begin(uuid4(), [7])
    member.row.cells[STARTED_AT], member.row.cells[STARTED] = 1, 1
    member.life.condemned = Excess(7, 1, "timeout", "still running")
    member.row.cells[STARTED_AT] = 2
    member.enforce_limits(now=1.0)
    assert member.life.condemned is None
    member.life.condemned = Excess(7, 1, "timeout", "still running")
    death = death_of(member, member.life, "signal SIGKILL", Usage())
    assert (death.excess, death.cut_off) == (
        None,
        True,
    )  # killed by us, too late: nobody is charged


def test_a_supervisor_whose_first_jobs_kill_their_workers_is_ready_when_each_place_has_had_one(
    crew: Crew,
) -> None:
    first, second = crew.members
    for member in crew.members:
        assert member.life is not None
        member.life.pid = 1_000 + member.index
    phases(crew, WORKING, BOOTING)
    assert not crew.proven()
    crew.died(1_000, SIGKILLED, Usage())
    first.row.clear()
    assert not crew.proven()
    phases(crew, BOOTING, IDLE)
    assert crew.proven()
    assert not crew.booted()
    assert second.alive
