"""Waits for the supervisor's children: workers and templates, and what callbacks of dead workers have left behind."""

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taskmaster.errors import TaskmasterError
from taskmaster.processes.ledger.settlements import PendingSettlements
from taskmaster.processes.ledger.worker_exit import Usage, WorkerExit
from taskmaster.processes.pool.counters import Counters
from taskmaster.processes.pool.generation import Generation
from taskmaster.processes.pool.generations import Generations
from taskmaster.processes.pool.worker_process import kill_group
from taskmaster.processes.shared.orphans import children

log = logging.getLogger("taskmaster.supervisor")


class ChildService(Protocol):
    """Looks after a child that is neither a worker nor a template: the exporter's, the embedded server's."""

    @property
    def pid(self) -> int | None: ...

    def owns(self, pid: int) -> bool:
        """Is it this child, or one that it has left to us?"""

    def died(self) -> None:
        """Wait for it, for it is dead."""


@dataclass(slots=True)
class Reaper:
    """Passes deaths on to be settled. `failure`: why it makes no sense to go on."""

    generations: Generations
    pending_settlements: PendingSettlements
    child_services: Sequence[ChildService] = ()
    failure: str | None = None
    counters: Counters = field(default_factory=Counters)
    leftovers: bool = False
    children_before: frozenset[int] = field(default_factory=lambda: frozenset(children()))

    def reap(self) -> None:
        """Wait for every child that is dead. Raises WorkersFailed when the template dies again and again."""
        while (pid := dead_child()) is not None:
            if (
                child_service := next((one for one in self.child_services if one.pid == pid), None)
            ) is not None:
                child_service.died()
                self.leftovers = True
                continue
            owner = next(
                (generation for generation in self.generations if generation.owns(pid)), None
            )
            if owner is not None and pid == owner.template.pid:
                self.template_died(owner)
                continue
            if owner is not None:
                kill_group(
                    pid
                )  # its children; while it is not waited for, its number cannot be another's
            self.leftovers = (
                self.leftovers or owner is None
            )  # a stranger: its own children come to us now
            _, status, used = os.wait4(pid, 0)
            usage = Usage(used.ru_maxrss / 1024, int((used.ru_utime + used.ru_stime) * 1e9))
            for generation in [owner] if owner else list(self.generations):
                self.record_exit(generation, generation.on_exit(pid, status, usage))

    def template_died(self, owner: Generation) -> None:
        try:
            owner.template.end(owner.template.gone())
        except TaskmasterError as error:
            self.generations.blame(owner, error)

    def hear(self, generation: Generation) -> None:
        """Take in what a template says. Raises InvalidConfig when the one at work cannot be loaded."""
        try:
            self.record_exit(generation, generation.hear())
        except TaskmasterError as error:
            self.generations.blame(generation, error)

    def record_exit(self, generation: Generation, worker_exit: WorkerExit | None) -> None:
        """See to it that a dead worker's batch is settled."""
        if worker_exit is None:
            return
        job = (
            ""
            if worker_exit.unsettled_batch is None or worker_exit.unsettled_batch.running is None
            else f" under job {worker_exit.unsettled_batch.running}"
        )
        log.info(
            "worker %s (pid %d) of %r left%s: %s",
            *worker_exit[1:3],
            worker_exit.consumer.queue_name,
            job,
            worker_exit.cause,
        )
        self.pending_settlements.take(worker_exit)
        self.leftovers = True
        self.counters.count_exit(worker_exit)
        if (
            generation is not self.generations.coming
        ):  # that one is refused when it is looked after next
            self.failure = self.failure or generation.pool.failure

    def end_leftovers(self) -> None:
        """End children of ours that are nobody we know: callbacks of a worker that is dead have left them.

        While a birth is awaited nobody can be told from it. A child's own children come to us in their turn.
        """
        if not self.leftovers or any(
            generation.template.ordered for generation in self.generations
        ):
            return
        strangers = [
            pid for pid in children() if pid not in self.children_before and not self.known(pid)
        ]
        for pid in strangers:
            self.end_stranger(pid)
        self.leftovers = bool(strangers)

    def end_stranger(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)  # a zombie at worst: it is ours to wait for
        except PermissionError:
            log.warning(
                "process %d, which a callback has left, runs as another user and cannot be ended",
                pid,
            )
            self.children_before |= {pid}

    def known(self, pid: int) -> bool:
        return any(one.owns(pid) for one in (*self.generations, *self.child_services))


def dead_child() -> int | None:
    """The pid of a child that is dead and not yet waited for."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
