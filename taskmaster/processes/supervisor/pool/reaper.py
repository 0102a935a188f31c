"""The reaper: reap the children of the supervisor, and kill strays.

A stray is a process that a callback started and that outlived its worker.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from taskmaster.errors import TaskmasterError
from taskmaster.processes.supervisor.exits.worker_exit import Usage
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReportService
from taskmaster.processes.supervisor.pool.generation import Generation
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import BaseService, ChildService
from taskmaster.processes.supervisor.signals import Signals
from taskmaster.processes.system.orphans import children
from taskmaster.processes.system.process_groups import is_tracker, kill_group

log = logging.getLogger("taskmaster.supervisor")

CLOSE_SECONDS = 1.0
CLOSE_LOOK_MS = 20


@dataclass(slots=True)
class Reaper(BaseService):
    """Passes each exit to the owner of the child: pool, template, crash reporter or service.

    `early_exits` holds processes that were reaped before the template reported their fork.
    `has_exits`: a child has exited since the last reaping. `has_strays`: there may be strays since
    the last look.
    """

    generations: Generations
    crash_reporter: CrashReportService
    child_services: Sequence[ChildService]
    signals: Signals
    early_exits: dict[int, tuple[int, Usage]] = field(default_factory=dict)
    has_exits: bool = False
    has_strays: bool = False
    children_before: frozenset[int] = field(default_factory=lambda: frozenset(children()))

    # -- exits

    def reap(self) -> None:
        """Reap every child that has exited.

        Raises WorkersFailed if templates exit again and again.
        """
        while (pid := _next_zombie()) is not None:
            self._reap_child(pid)
        self.has_exits = False

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        """Return the channels on which the templates report what they have forked."""
        return {
            generation.template.channel.fileno(): partial(self._on_template_message, generation)
            for generation in self.generations
            if generation.template.channel is not None
        }

    def _on_template_message(self, generation: Generation) -> None:
        """Note the pid of a fork. If that process has been reaped already, pass on its exit."""
        try:
            forked = generation.template.read()
        except TaskmasterError as error:
            self.generations.blame(generation, error)
            return
        if forked is not None:
            generation.on_forked(forked)
            if forked.pid in self.early_exits:
                self._on_exit(forked.pid, *self.early_exits.pop(forked.pid))

    def _reap_child(self, pid: int) -> None:
        service = next((one for one in self.child_services if one.pid == pid), None)
        generation = next((one for one in self.generations if one.template.pid == pid), None)
        if service is not None:
            service.on_exit()
            self.has_strays = True
        elif generation is not None:
            self._on_template_exit(generation)
        else:
            if self._is_ours(pid):
                kill_group(pid)  # before the reaping, after which another group may have this id
            _, status, used = os.wait4(pid, 0)
            cpu_ns = int((used.ru_utime + used.ru_stime) * 1e9)
            self._on_exit(pid, status, Usage(used.ru_maxrss / 1024, cpu_ns))

    def _on_exit(self, pid: int, status: int, usage: Usage) -> None:
        self.has_strays = True  # the supervisor has adopted the children of the process
        if pid == self.crash_reporter.pid:
            self.crash_reporter.on_exit(status)
            return
        owner = next((one for one in self.generations if one.pool.owns(pid)), None)
        if owner is not None:
            owner.pool.on_exit(pid, status, usage)
        elif self._has_unconfirmed_forks():
            self.early_exits[pid] = status, usage

    def _on_template_exit(self, generation: Generation) -> None:
        try:
            generation.template.on_exit()
        except TaskmasterError as error:
            self.generations.blame(generation, error)

    # -- strays

    def run_due(self, now: float) -> None:
        """Kill children that the supervisor did not start: callbacks of exited workers left them.

        Skipped while a fork is unconfirmed, because the new worker could not be told apart from a
        stray. The children of a killed stray are adopted and killed in the next step.
        """
        if self.has_exits:  # a shortage has interrupted the reaping
            self.reap()
        if self._has_unconfirmed_forks():
            return
        self.early_exits.clear()  # no template ordered these
        if not self.has_strays:
            return
        strange = [pid for pid in children() if pid not in self.children_before]
        strays = [pid for pid in strange if not self._is_known(pid) and not is_tracker(pid)]
        for pid in strays:
            self._kill_stray(pid)
        self.has_strays = bool(strays)

    def close(self) -> None:
        """Kill all workers, and wait a moment until they and their strays are reaped."""
        self.generations.drop_coming()
        self.generations.kill_all()
        self.has_strays = True
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._has_children() and time.monotonic() < deadline:
            self.reap()
            self.run_due(time.monotonic())
            self._wait_for_signal()
            self.signals.read()

    def _wait_for_signal(self) -> None:
        poll = select.poll()
        poll.register(self.signals.fileno(), select.POLLIN)
        poll.poll(CLOSE_LOOK_MS)

    def _has_children(self) -> bool:
        return self.has_strays or any(self.generations.processes())

    def _kill_stray(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)  # safe: a child keeps its pid until it is reaped here
        except PermissionError:
            log.warning("stray process cannot be killed, it runs as another user: pid=%d", pid)
            self.children_before |= {pid}

    def _has_unconfirmed_forks(self) -> bool:
        return any(generation.template.ordered for generation in self.generations)

    def _is_ours(self, pid: int) -> bool:
        is_worker = any(generation.pool.owns(pid) for generation in self.generations)
        return is_worker or pid == self.crash_reporter.pid

    def _is_known(self, pid: int) -> bool:
        is_template = any(generation.template.pid == pid for generation in self.generations)
        return (
            is_template or self._is_ours(pid) or any(one.owns(pid) for one in self.child_services)
        )


def _next_zombie() -> int | None:
    """Return the pid of a child that has exited and is not reaped yet, or None."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
