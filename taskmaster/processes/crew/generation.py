"""One configuration at work: its template, its workers and their slots. A reload makes another one."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taskmaster.errors import WorkersFailed
from taskmaster.processes.crew.crew import Crew
from taskmaster.processes.crew.nursery import Nursery
from taskmaster.processes.crew.reporter import Reporter
from taskmaster.processes.ledger.death import Death, Usage
from taskmaster.processes.ledger.ledger import Releases
from taskmaster.processes.shared.scoreboard import Scoreboard

SCOUT_SECONDS = 60.0

log = logging.getLogger("taskmaster.supervisor")


@dataclass(slots=True)
class Generation:
    """Keeps the wanted number of workers alive, until it is told to leave."""

    scoreboard: Scoreboard
    crew: Crew
    nursery: Nursery
    reporter: Reporter = field(default_factory=Reporter)
    dead_before_born: dict[int, tuple[int, Usage]] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        return self.crew.stopping and not any(self.crew.lives()) and not self.reporter.busy

    def prepare(self, now: float) -> bool:
        """See to the template; True once it is ready. Raises InvalidConfig or WorkersFailed."""
        self.nursery.tend(now)
        return self.nursery.ready

    def scout(self, now: float, supervisor: int) -> bool:
        """Before it is at work: True once one worker of each consumer is up and waits.

        Raises InvalidConfig or WorkersFailed when there is no working with it.
        """
        up = self.prepare(now) and self.crew.scout(self.nursery, supervisor, now)
        if not up and any(now - life.ordered_at > SCOUT_SECONDS for life in self.crew.lives()):
            raise WorkersFailed(f"a new worker was not up within {SCOUT_SECONDS:g} s")
        self.crew.never_born(self.nursery.take_lost())
        if self.crew.failure is not None:
            raise WorkersFailed(self.crew.failure)
        return up

    def tend(self, now: float, supervisor: int | None, elsewhere: Mapping[str, int]) -> Releases:
        """Fill vacant slots, end what exceeds its limits; what waited behind slow jobs and is taken back."""
        if not self.crew.stopping:
            self.prepare(now)
            if supervisor is not None:
                self.crew.spawn_missing(self.nursery, supervisor, now, elsewhere)
            self.crew.give_turns()
        self.reporter.tend(self.nursery, now)
        self.crew.coroner.look(now)
        self.crew.enforce_limits(now)
        self.crew.pass_on_output()
        lost = self.nursery.take_lost()
        self.crew.never_born(lost)
        self.reporter.never_born(lost)
        if not self.nursery.ordered:
            self.dead_before_born.clear()  # a pid without an order was no worker's
        return self.crew.taken_back_behind_slow_jobs()

    def next_due(self, now: float, *, registered: bool) -> float:
        dues = [
            self.crew.next_due(
                now, spawning=registered and self.nursery.takes_orders and not self.crew.stopping
            )
        ]
        if not self.crew.stopping and (due := self.nursery.next_due()) is not None:
            dues.append(due)
        if self.reporter.end_at is not None:
            dues.append(self.reporter.end_at)
        return min(dues)

    def watched(self, hear: Callable[["Generation"], None]) -> dict[int, Callable[[], None]]:
        channel = self.nursery.channel
        return {} if channel is None else {channel.fileno(): lambda: hear(self)}

    def hear(self) -> Death | None:
        """Take in what the template says; the death of a worker that was told of only after it."""
        birth = self.nursery.read()
        if birth is None:
            return None
        ended = self.dead_before_born.pop(birth.pid, None)
        if self.reporter.born(birth):
            if ended is not None:
                status, _ = ended
                self.reporter.ended(status)
            return None
        self.crew.born(birth)
        return None if ended is None else self.bury(birth.pid, *ended)

    def owns(self, pid: int) -> bool:
        """Is it the template, or a worker or reporter that was born?"""
        return self.crew.knows(pid) or pid in (self.nursery.pid, self.reporter.pid)

    def bury(self, pid: int, status: int, usage: Usage) -> Death | None:
        """A child was waited for: its death when it was a worker of ours; one that is not yet told of is remembered."""
        if pid == self.reporter.pid:
            self.reporter.ended(status)
            return None
        death = self.crew.died(pid, status, usage)
        if death is None and self.nursery.ordered:
            self.dead_before_born[pid] = status, usage
        return death

    def leave(self) -> Releases:
        """Have all workers leave after the job at hand; what they will not start. The template is needed no more."""
        released = self.crew.stop()
        self.nursery.kill()
        lost = self.nursery.take_lost()
        self.crew.never_born(lost)
        self.reporter.never_born(lost)
        return released

    def kill(self) -> None:
        for life in self.crew.lives():
            life.kill()

    def close(self) -> None:
        self.nursery.kill()
        self.reporter.end()
        self.kill()
        self.crew.close()
        os.close(self.scoreboard.fd)


def working(generations: list[Generation]) -> Counter[str]:
    """Workers by queue."""
    total: Counter[str] = Counter()
    for generation in generations:
        total += generation.crew.working()
    return total
