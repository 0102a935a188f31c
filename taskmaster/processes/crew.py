"""The workers as the supervisor knows them: one member per slot, alive or about to be replaced."""

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from taskmaster.consumer import Consumer
from taskmaster.options import SupervisorOptions
from taskmaster.processes import limits, messages, permits
from taskmaster.processes.backoff import Backoff
from taskmaster.processes.burial import Death, Usage, cause
from taskmaster.processes.failures import HOST
from taskmaster.processes.nursery import Nursery
from taskmaster.processes.slots import BEGAN_AT, COUNT, STARTED, STOP, TOLD, Slot, Slots
from taskmaster.processes.wakeups import WakeupQueue

STACK_SECONDS = 0.05  # for a worker to write its stack, before it is killed
LIMITS_LOOK_SECONDS = 0.1
BOOT_LOOK_SECONDS = 0.02  # a worker that has booted says so in its slot only


@dataclass(slots=True)
class Life:
    """One worker process: ordered, then (with a pid) born."""

    serial: int
    name: str
    wakeups: WakeupQueue
    permits_fd: int
    ordered_at: float
    stack_fd: int = field(default_factory=lambda: os.memfd_create("taskmaster-stack"))
    pid: int | None = None
    cut_off: bool = False
    condemned: limits.Excess | None = None
    kill_at: float = 0.0

    def close(self) -> None:
        self.wakeups.close()
        os.close(self.permits_fd)
        os.close(self.stack_fd)

    def condemn(self, excess: limits.Excess) -> None:
        """Have it write its stack; it is killed a moment later."""
        assert self.pid is not None
        self.condemned, self.kill_at = excess, time.monotonic() + STACK_SECONDS
        os.kill(self.pid, limits.DUMP)

    def spare(self) -> None:
        """The job ended just in time."""
        self.condemned = None
        os.ftruncate(self.stack_fd, 0)
        os.lseek(self.stack_fd, 0, os.SEEK_SET)

    def kill(self) -> None:
        """End it and everything that it has started, now."""
        self.cut_off = True
        if self.pid is not None:
            kill_group(self.pid)


@dataclass(slots=True)
class Member:
    """A slot and whoever works in it."""

    index: int
    consumer_index: int
    consumer: Consumer
    slot: Slot
    backoff: Backoff
    life: Life | None = None
    start_at: float = 0.0
    failed_boots: int = 0

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.pid is not None

    def wake(self) -> bool:
        """Tell the worker to look. Told already and not yet looked: nothing to do."""
        if self.life is None or not self.slot.booted or self.slot.cells[TOLD]:
            return False
        self.slot.cells[TOLD] = 1
        self.life.wakeups.put()
        return True

    def stop(self) -> None:
        """Have the worker leave after the job at hand."""
        self.slot.cells[STOP] = 1
        if self.life is not None:
            self.life.wakeups.put()

    def take_back(self) -> tuple[UUID, Sequence[int]] | None:
        """Keep the worker from starting the rest of its batch: the token, and the jobs that it will not start."""
        if self.life is None:
            return None
        token, ids = before = self.slot.batch()
        drained = permits.drain(self.life.permits_fd)
        # Another batch meanwhile: its worker finds no permits, and gives back the rest of it by itself.
        unchanged = before == self.slot.batch() and drained <= len(ids)
        return (token, ids[len(ids) - drained :]) if drained and unchanged else None

    def enforce_limits(self, now: float) -> None:
        """Kill the worker when its job exceeds a limit."""
        if self.life is None or self.life.pid is None or not self.watched:
            return
        if self.life.condemned is None:
            excess = limits.excess(self.consumer, self.life.pid, self.slot)
            if excess is not None:
                self.life.condemn(excess)
        elif self.slot.running() != self.life.condemned.job:
            self.life.spare()
        elif now >= self.life.kill_at:
            kill_group(self.life.pid)

    @property
    def watched(self) -> bool:
        """May a job run here that has limits?"""
        return self.consumer.limited and self.alive and not (self.slot.idle and not self.slot.cells[TOLD])

    def slow_since(self, seconds: float) -> bool:
        """Has the batch run for so long while jobs of it wait? It was meant to take 20 ms."""
        return self.waiting_behind > 0 and time.monotonic_ns() - self.slot.cells[BEGAN_AT] > seconds * 1e9

    @property
    def waiting_behind(self) -> int:
        """Jobs of the batch that have not been started."""
        return self.slot.cells[COUNT] - self.slot.cells[STARTED]


@dataclass(slots=True)
class Crew:
    """All members; converges to one living worker per slot."""

    consumers: Sequence[Consumer]
    options: SupervisorOptions
    slots: Slots
    members: list[Member] = field(default_factory=list)
    serial: int = 0
    stopping: bool = False
    failure: str | None = None  # why it makes no sense to go on

    def __post_init__(self) -> None:
        for number, consumer in enumerate(self.consumers):
            for _ in range(consumer.concurrency):
                backoff = Backoff(self.options.restart_base_seconds, self.options.restart_max_seconds)
                index = len(self.members)
                self.members.append(Member(index, number, consumer, self.slots.slot(index), backoff))

    def lives(self) -> Iterator[Life]:
        return (member.life for member in self.members if member.life is not None)

    def spawn_missing(self, nursery: Nursery, supervisor: int, now: float) -> None:
        """Order a worker for each vacant slot whose time has come."""
        for member in self.members:
            if member.life is None and now >= member.start_at and nursery.ready and not self.stopping:
                self.spawn(member, nursery, supervisor, now)

    def spawn(self, member: Member, nursery: Nursery, supervisor: int, now: float) -> None:
        self.serial += 1
        member.slot.clear()
        name = f"{HOST}:{os.getpid()}:{self.serial}"
        member.life = Life(self.serial, name, WakeupQueue(), permits.create(), now)
        wanted = messages.Order(self.serial, member.consumer_index, member.index, name, supervisor)
        nursery.order(wanted, (member.life.wakeups.reader_fd, member.life.permits_fd, member.life.stack_fd))
        member.life.wakeups.handed_over()

    def born(self, birth: messages.Born) -> None:
        """Note the pid of a worker; one that is not wanted any more is ended."""
        for member in self.members:
            if member.life is not None and member.life.serial == birth.serial:
                member.life.pid = birth.pid or None
                if not birth.pid:
                    self.vacate(member, lived_seconds=0.0)
                elif member.life.cut_off:  # ended before it was born
                    kill_group(birth.pid)
                elif self.stopping:
                    member.stop()
                else:
                    member.life.wakeups.put()  # it is known: it may begin
                return
        if birth.pid:
            kill_group(birth.pid)

    def never_born(self, serials: set[int]) -> None:
        """The template was lost with these orders."""
        for member in self.members:
            if member.life is not None and member.life.serial in serials and member.life.pid is None:
                self.vacate(member, lived_seconds=0.0)

    def knows(self, pid: int) -> bool:
        return any(life.pid == pid for life in self.lives())

    def died(self, pid: int, status: int, usage: Usage) -> Death | None:
        """A child was reaped: its death, to be settled; None when it was no worker."""
        for member in self.members:
            if member.life is not None and member.life.pid == pid:
                death = death_of(member, member.life, status, usage)
                self.judge(member, death)
                return death
        return None

    def judge(self, member: Member, death: Death) -> None:
        """Decide when the slot is filled again, or that it makes no sense."""
        assert member.life is not None
        in_order = member.slot.booted and (death.cut_off or death.cause == "exit code 0")
        useful = in_order or member.slot.served > 0 or death.excess is not None
        lived = math.inf if useful else time.monotonic() - member.life.ordered_at
        if member.slot.booted:
            member.failed_boots = 0
        elif not death.cut_off:
            member.failed_boots += 1
        if member.failed_boots >= self.options.boot_attempts or refused(member):
            self.failure = boot_failure(member, death)
        self.vacate(member, lived_seconds=lived)

    def vacate(self, member: Member, *, lived_seconds: float) -> None:
        assert member.life is not None
        member.life.close()
        member.life = None
        member.start_at = time.monotonic() + member.backoff.record(lived_seconds)

    def enforce_limits(self, now: float) -> None:
        for member in self.members:
            member.enforce_limits(now)

    def wake(self, queue_name: str, jobs: int) -> None:
        """Wake as many workers of a queue as there are jobs for, the idle ones first.

        One that is busy is told too: it may have looked already, and be about to go idle.
        """
        woken = 0
        members = [member for member in self.members if member.consumer.queue_name == queue_name]
        for member in sorted(members, key=lambda member: not member.slot.idle):
            if woken >= jobs:
                return
            woken += member.wake()

    def wake_one_each(self) -> None:
        """Have one idle worker of each consumer look: what no notification told of is found within a second."""
        looking: set[int] = set()
        for member in self.members:
            if member.consumer_index not in looking and member.slot.idle and member.wake():
                looking.add(member.consumer_index)

    def stop(self) -> list[tuple[UUID, Sequence[int]]]:
        """Have all leave after the job at hand; what they will not start."""
        self.stopping = True
        for member in self.members:
            member.stop()
        return self.taken_back(self.members)

    def taken_back_behind_slow_jobs(self) -> list[tuple[UUID, Sequence[int]]]:
        """What waits behind a slow job, so that other workers can have it."""
        return self.taken_back([m for m in self.members if m.slow_since(self.options.slow_after_seconds)])

    def taken_back(self, members: Sequence[Member]) -> list[tuple[UUID, Sequence[int]]]:
        return [taken for member in members if (taken := member.take_back()) is not None]

    def next_due(self, *, spawning: bool) -> float | None:
        """When a vacant slot is to be filled (if it can be), or somebody to be looked at again."""
        if any(member.alive and not member.slot.booted for member in self.members):
            return time.monotonic() + BOOT_LOOK_SECONDS
        if any(member.life is not None and member.life.condemned is not None for member in self.members):
            return time.monotonic() + STACK_SECONDS / 2
        if any(member.watched for member in self.members):
            return time.monotonic() + min(LIMITS_LOOK_SECONDS, self.options.slow_after_seconds / 2)
        if any(member.waiting_behind for member in self.members):
            return time.monotonic() + self.options.slow_after_seconds / 2
        return min((member.start_at for member in self.members if member.life is None and spawning), default=None)

    def booted(self) -> bool:
        return all(member.alive and member.slot.booted for member in self.members)

    def idle(self) -> bool:
        return any(member.alive and member.slot.idle for member in self.members)

    def living(self) -> list[str]:
        return [life.name for life in self.lives()]


def death_of(member: Member, life: Life, status: int, usage: Usage) -> Death:
    """The end of a worker that was waited for. Condemned for a job that had ended by then, it charges nobody."""
    remains, excess = member.slot.remains(), life.condemned
    innocent = excess is not None and (remains is None or remains.running != excess.job)
    if innocent:
        excess = None
    return Death(
        member.consumer,
        life.name,
        life.pid or 0,
        cause(status) if excess is None else excess.cause,
        life.cut_off or innocent,
        remains,
        time.monotonic_ns(),
        usage,
        excess,
        limits.read_stack(life.stack_fd),
    )


def refused(member: Member) -> bool:
    """Did the worker find its configuration impossible? Another would find the same."""
    return not member.slot.booted and any(entry.get("final") for entry in member.slot.entries())


def boot_failure(member: Member, death: Death) -> str:
    reasons = [entry["boot"] for entry in member.slot.entries() if "boot" in entry]
    reason = reasons[-1] if reasons else f"consumer {member.consumer.queue_name!r}: {death.cause}"
    if refused(member):
        return reason
    return f"{member.failed_boots} workers in a row died before their first claim; the last: {reason}"


def kill_group(pid: int) -> None:
    """SIGKILL a worker and its process group, which it may not have founded yet."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
