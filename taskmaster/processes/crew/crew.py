"""The workers of one configuration: one member per slot, alive or about to be replaced."""

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taskmaster.consumer import Consumer
from taskmaster.options import SupervisorOptions
from taskmaster.processes.crew.coroner import IN_ORDER, Coroner, boot_failure, death_of, refused
from taskmaster.processes.crew.life import STACK_SECONDS, Life, kill_group
from taskmaster.processes.crew.member import Member
from taskmaster.processes.crew.nursery import Nursery
from taskmaster.processes.ledger.death import Death, Usage
from taskmaster.processes.shared import messages, permits
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.failures import HOST
from taskmaster.processes.shared.numbers import Numbers
from taskmaster.processes.shared.scoreboard import Scoreboard

SERIALS = itertools.count(1)  # of all workers of this process
ROOM_LOOK_SECONDS = 0.02  # while workers of an older configuration have the places
BOOT_LOOK_SECONDS = 0.02  # a worker that has booted says so in its slot only
LEAVE_SECONDS = 3.0  # what Sentry and tracing have for their last events, and more
OUTPUT_LOOK_SECONDS = (
    0.1  # for limits too: so much later at most is shown what a busy worker prints
)


@dataclass(slots=True)
class Crew:
    """All members; converges to one living worker per slot."""

    consumers: Sequence[Consumer]
    options: SupervisorOptions
    scoreboard: Scoreboard
    numbers: Numbers = field(default_factory=Numbers)
    members: list[Member] = field(default_factory=list)
    turns: list[int] = field(
        default_factory=list
    )  # per consumer: whose turn it is to be replaced, see recycling.py
    turns_out: set[int] = field(default_factory=set)
    coroner: Coroner = field(default_factory=Coroner)
    stopping: bool = False
    at_work: bool = False
    failure: str | None = None  # why it makes no sense to go on

    def __post_init__(self) -> None:
        for number, consumer in enumerate(self.consumers):
            self.turns.append(permits.create())
            self.turns_out.add(number)
            for _ in range(consumer.concurrency):
                backoff = Backoff(
                    self.options.restart_base_seconds, self.options.restart_max_seconds
                )
                index = len(self.members)
                self.members.append(
                    Member(index, number, consumer, self.scoreboard.row(index), backoff)
                )

    def lives(self) -> Iterator[Life]:
        return (member.life for member in self.members if member.life is not None)

    def spawn_missing(
        self, nursery: Nursery, supervisor: int, now: float, elsewhere: Mapping[str, int]
    ) -> None:
        """Order a worker for each vacant slot whose time has come.

        `elsewhere`: workers of each queue that still finish their jobs on an older configuration. They count.
        """
        if self.stopping:
            return
        self.at_work = True
        room = Counter({consumer.queue_name: consumer.concurrency for consumer in self.consumers})
        room.subtract(elsewhere)
        room.subtract(self.working())
        for member in self.members:
            queue_name = member.consumer.queue_name
            waits = member.life is not None and member.life.waits
            if not waits and (
                member.life is not None or now < member.start_at or not nursery.takes_orders
            ):
                continue
            if room[queue_name] <= 0:
                member.start_at = now + ROOM_LOOK_SECONDS
                continue
            room[queue_name] -= 1
            if waits:
                member.begin()
            else:
                self.spawn(member, nursery, supervisor, now)

    def scout(self, nursery: Nursery, supervisor: int, now: float) -> bool:
        """Start one worker of each consumer, which waits; True once all are up: the code can be worked with."""
        scouts = {member.consumer_index: member for member in reversed(self.members)}.values()
        for member in scouts:
            if member.life is None and now >= member.start_at and nursery.takes_orders:
                self.spawn(member, nursery, supervisor, now, waits=True)
        return all(member.alive and member.row.idle for member in scouts)

    def working(self) -> Counter[str]:
        """Workers by queue, but for those that wait."""
        return Counter(
            m.consumer.queue_name for m in self.members if m.life is not None and not m.life.waits
        )

    def spawn(
        self, member: Member, nursery: Nursery, supervisor: int, now: float, *, waits: bool = False
    ) -> None:
        member.row.clear()
        serial = next(SERIALS)
        life = member.life = Life(
            serial, self.numbers.take(), f"{HOST}:{os.getpid()}:{serial}", now, waits
        )
        wanted = messages.Order(
            serial,
            member.consumer_index,
            member.index,
            life.name,
            supervisor,
            life.number,
            waits=waits,
        )
        wakeups, permits_fd, stack, *output = life.fds()
        nursery.order(
            wanted, (wakeups, permits_fd, stack, self.turns[member.consumer_index], *output)
        )
        life.wakeups.handed_over()

    def give_turns(self) -> None:
        """Let the next worn worker of a consumer leave, once all of its workers are up."""
        for number in list(self.turns_out):
            if all(m.alive and m.row.booted for m in self.members if m.consumer_index == number):
                permits.drain(self.turns[number])
                permits.fill(self.turns[number], 1)
                self.turns_out.discard(number)

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
            if (
                member.life is not None
                and member.life.serial in serials
                and member.life.pid is None
            ):
                self.vacate(member, lived_seconds=0.0)

    def knows(self, pid: int) -> bool:
        return any(life.pid == pid for life in self.lives())

    def died(self, pid: int, status: int, usage: Usage) -> Death | None:
        """A child was reaped: its death, to be settled; None when it was no worker."""
        for member in self.members:
            if member.life is not None and member.life.pid == pid:
                death = death_of(member, member.life, self.coroner.cause(status), usage)
                self.judge(member, death)
                return death
        return None

    def judge(self, member: Member, death: Death) -> None:
        """Decide when the slot is filled again, or that it makes no sense."""
        assert member.life is not None
        in_order = member.row.booted and (death.cut_off or death.cause == IN_ORDER)
        useful = in_order or member.row.served > 0 or death.excess is not None
        lived = math.inf if useful else time.monotonic() - member.life.ordered_at
        if member.row.booted:
            member.failed_boots, member.proven = 0, True
        elif not death.cut_off:
            member.failed_boots += 1
        if member.failed_boots >= self.options.boot_attempts or refused(member):
            self.failure = boot_failure(member, death)
        self.vacate(member, lived_seconds=lived)

    def vacate(self, member: Member, *, lived_seconds: float) -> None:
        assert member.life is not None
        self.let_go(member.life)
        member.life = None
        self.turns_out.add(member.consumer_index)
        member.start_at = time.monotonic() + member.backoff.record(lived_seconds)

    def enforce_limits(self, now: float) -> None:
        for member in self.members:
            member.enforce_limits(now)
            member.see_off(now, max(LEAVE_SECONDS, self.options.grace_seconds))

    def wake(self, queue_name: str, jobs: int) -> int:
        """Wake as many workers of a queue as there are jobs for, the idle ones first; how many were told.

        One that is busy is told too: it may have looked already, and be about to go idle.
        """
        woken = 0
        members = [member for member in self.members if member.consumer.queue_name == queue_name]
        for member in sorted(members, key=lambda member: not member.row.idle):
            if woken >= jobs:
                break
            woken += member.wake()
        return woken

    def wake_one_each(self) -> int:
        """Have one idle worker of each consumer look: what no notification told of is found within a second."""
        looking: set[int] = set()
        for member in self.members:
            if member.consumer_index not in looking and member.row.idle and member.wake():
                looking.add(member.consumer_index)
        return len(looking)

    def stop(self) -> list[tuple[UUID, Sequence[int]]]:
        """Have all leave after the job at hand; what they will not start."""
        self.stopping = True
        for member in self.members:
            member.stop()
        return self.taken_back(self.members)

    def taken_back_behind_slow_jobs(self) -> list[tuple[UUID, Sequence[int]]]:
        """What waits behind a slow job, so that other workers can have it."""
        return self.taken_back(
            [m for m in self.members if m.slow_since(self.options.slow_after_seconds)]
        )

    def taken_back(self, members: Sequence[Member]) -> list[tuple[UUID, Sequence[int]]]:
        return [taken for member in members if (taken := member.take_back()) is not None]

    def next_due(self, now: float, *, spawning: bool) -> float:
        """When somebody is to be looked at again, or (if it can be) a vacant slot to be filled."""
        return min(
            (self.due(member, now) for member in self.members if member.life or spawning),
            default=math.inf,
        )

    def due(self, member: Member, now: float) -> float:
        if member.life is None:
            return (
                max(member.start_at, now + BOOT_LOOK_SECONDS)
                if not self.at_work
                else member.start_at
            )
        if member.life.condemned is not None:
            return now + STACK_SECONDS / 2
        if not member.row.booted:
            return now + BOOT_LOOK_SECONDS if member.alive else math.inf
        if member.life.waits:
            return now + ROOM_LOOK_SECONDS
        if not member.busy:
            return now + OUTPUT_LOOK_SECONDS if member.life.output.waiting else math.inf
        return now + min(OUTPUT_LOOK_SECONDS, self.options.slow_after_seconds / 2)

    def pass_on_output(self) -> None:
        for life in self.lives():
            life.output.pass_on()

    def booted(self) -> bool:
        """Are all workers up?"""
        return all(member.alive and member.row.booted for member in self.members)

    def proven(self) -> bool:
        """Has each place had a worker that was up? Where jobs kill theirs as they come, all are never up at once."""
        return all(member.proven or (member.alive and member.row.booted) for member in self.members)

    def idle(self) -> bool:
        return any(member.alive and member.row.idle for member in self.members)

    def living(self) -> list[str]:
        return [life.name for life in self.lives()]

    def running(self) -> list[dict[str, Any]]:
        """The runs that have lasted for a while or say how far they are, as `taskmaster status` shows them."""
        return [shown for member in self.members if (shown := member.running()) is not None]

    def lost_leases(self) -> int:
        """Batches of living workers whose outcomes were not written."""
        return sum(member.row.lost_leases for member in self.members if member.life is not None)

    def let_go(self, life: Life) -> None:
        """Close what was shared with a worker that is no more; another may have its number."""
        life.close()
        self.numbers.give_back(life.number)

    def close(self) -> None:
        for life in self.lives():
            self.let_go(life)
        for fd in self.turns:
            os.close(fd)
