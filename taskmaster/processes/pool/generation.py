"""One configuration at work: its template, its workers and their slots. A reload makes another one."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taskmaster.errors import WorkersFailed
from taskmaster.processes.ledger.ledger import Releases
from taskmaster.processes.ledger.worker_exit import Usage, WorkerExit
from taskmaster.processes.pool.crash_reporter import Reporter
from taskmaster.processes.pool.pool import WorkerPool
from taskmaster.processes.pool.template_client import TemplateClient
from taskmaster.processes.shared.scoreboard import Scoreboard

CANARY_SECONDS = 60.0

log = logging.getLogger("taskmaster.supervisor")


@dataclass(slots=True)
class Generation:
    """Keeps the wanted number of workers alive, until it is told to leave."""

    scoreboard: Scoreboard
    pool: WorkerPool
    template: TemplateClient
    reporter: Reporter = field(default_factory=Reporter)
    early_exits: dict[int, tuple[int, Usage]] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        return self.pool.stopping and not any(self.pool.processes()) and not self.reporter.busy

    def prepare(self, now: float) -> bool:
        """See to the template; True once it is ready. Raises InvalidConfig or WorkersFailed."""
        self.template.run_due(now)
        return self.template.ready

    def canary(self, now: float, supervisor: int) -> bool:
        """Before it is at work: True once one worker of each consumer is up and waits.

        Raises InvalidConfig or WorkersFailed when there is no working with it.
        """
        up = self.prepare(now) and self.pool.canary(self.template, supervisor, now)
        if not up and any(
            now - process.ordered_at > CANARY_SECONDS for process in self.pool.processes()
        ):
            raise WorkersFailed(f"a new worker was not up within {CANARY_SECONDS:g} s")
        self.pool.on_fork_lost(self.template.take_lost_forks())
        if self.pool.failure is not None:
            raise WorkersFailed(self.pool.failure)
        return up

    def run_due(self, now: float, supervisor: int | None, elsewhere: Mapping[str, int]) -> Releases:
        """Fill vacant slots, end what exceeds its limits; what waited behind slow jobs and is taken back."""
        if not self.pool.stopping:
            self.prepare(now)
            if supervisor is not None:
                self.pool.spawn_missing(self.template, supervisor, now, elsewhere)
            self.pool.refill_recycle_permits()
        self.reporter.run_due(self.template, now)
        self.pool.oom_watch.look(now)
        self.pool.enforce_limits(now)
        self.pool.pass_on_output()
        lost = self.template.take_lost_forks()
        self.pool.on_fork_lost(lost)
        self.reporter.on_fork_lost(lost)
        if not self.template.ordered:
            self.early_exits.clear()  # a pid without an order was no worker's
        return self.pool.taken_back_behind_slow_jobs()

    def next_due(self, now: float, *, registered: bool) -> float:
        dues = [
            self.pool.next_due(
                now, spawning=registered and self.template.accepts_orders and not self.pool.stopping
            )
        ]
        if not self.pool.stopping and (due := self.template.next_due()) is not None:
            dues.append(due)
        if self.reporter.end_at is not None:
            dues.append(self.reporter.end_at)
        return min(dues)

    def watched(self, hear: Callable[["Generation"], None]) -> dict[int, Callable[[], None]]:
        channel = self.template.channel
        return {} if channel is None else {channel.fileno(): lambda: hear(self)}

    def hear(self) -> WorkerExit | None:
        """Take in what the template says; the death of a worker that was told of only after it."""
        forked = self.template.read()
        if forked is None:
            return None
        ended = self.early_exits.pop(forked.pid, None)
        if self.reporter.on_forked(forked):
            if ended is not None:
                status, _ = ended
                self.reporter.ended(status)
            return None
        self.pool.on_forked(forked)
        return None if ended is None else self.on_exit(forked.pid, *ended)

    def owns(self, pid: int) -> bool:
        """Is it the template, or a worker or reporter that was born?"""
        return self.pool.knows(pid) or pid in (self.template.pid, self.reporter.pid)

    def on_exit(self, pid: int, status: int, usage: Usage) -> WorkerExit | None:
        """A child was waited for: its death when it was a worker of ours; one that is not yet told of is remembered."""
        if pid == self.reporter.pid:
            self.reporter.ended(status)
            return None
        worker_exit = self.pool.died(pid, status, usage)
        if worker_exit is None and self.template.ordered:
            self.early_exits[pid] = status, usage
        return worker_exit

    def leave(self) -> Releases:
        """Have all workers leave after the job at hand; what they will not start. The template is needed no more."""
        released = self.pool.stop()
        self.template.kill()
        lost = self.template.take_lost_forks()
        self.pool.on_fork_lost(lost)
        self.reporter.on_fork_lost(lost)
        return released

    def kill(self) -> None:
        for process in self.pool.processes():
            process.kill()

    def close(self) -> None:
        self.template.kill()
        self.reporter.end()
        self.kill()
        self.pool.close()
        os.close(self.scoreboard.fd)


def working(generations: list[Generation]) -> Counter[str]:
    """Workers by queue."""
    total: Counter[str] = Counter()
    for generation in generations:
        total += generation.pool.working()
    return total
