"""The supervisor's loop: one thread that runs a list of services and waits for events.

Signals are data that the loop reads. It runs no user code and never waits for one child.
"""

import logging
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from taskmaster.errors import WorkersFailed
from taskmaster.processes.supervisor.pool.reaper import Reaper
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import Service
from taskmaster.processes.supervisor.shutdown import ShutdownService
from taskmaster.processes.supervisor.signals import IGNORED, Signals, is_terminal_gone
from taskmaster.processes.system.shortage import ShortageGuard

log = logging.getLogger("taskmaster.supervisor")

LONGEST_WAIT_SECONDS = 1.0


@dataclass(slots=True)
class Loop:
    """Runs the services in their order, and closes them in the opposite order.

    A service that a shortage interrupts is set aside for a moment, and the others go on.
    """

    services: Sequence[Service]
    signals: Signals
    shutdown: ShutdownService
    generations: Generations
    reaper: Reaper
    guard: ShortageGuard = field(default_factory=ShortageGuard)

    def run(self) -> None:
        """Run the services until all workers have exited after a request to stop.

        Raises InvalidConfig, SchemaMismatch, and WorkersFailed if the workers fail.
        """
        while not self.shutdown.is_finished:
            now = time.monotonic()
            for service in self.services:
                self.guard.run(type(service).__name__, partial(service.run_due, now))
            self._wait()
        failure = self.shutdown.failure or self.generations.failure
        if failure is not None:
            raise WorkersFailed(failure)

    def close(self) -> None:
        """Close the services: stop all children, write what is pending, free everything."""
        with ExitStack() as stack:  # it closes all of them, whatever one of them raises
            for service in self.services:
                stack.callback(self.guard.run, f"close of {type(service).__name__}", service.close)

    def _wait(self) -> None:
        """Wait for the next event or due time, and handle the events."""
        handlers = self._handlers()
        poll = select.poll()
        for fd in handlers:
            if not self.guard.resume_at(f"event {fd}"):
                poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(self._wait_seconds() * 1000):
            self.guard.run(f"event {fd}", handlers[fd])

    def _handlers(self) -> dict[int, Callable[[], None]]:
        """Return the descriptors to poll now, and their handlers. They differ from step to step."""
        handlers: dict[int, Callable[[], None]] = {self.signals.fileno(): self._handle_signals}
        for service in self.services:
            handlers |= service.handlers()
        return handlers

    def _wait_seconds(self) -> float:
        due = min(map(self._next_due, self.services))
        return min(LONGEST_WAIT_SECONDS, max(0.0, due - time.monotonic()))

    def _next_due(self, service: Service) -> float:
        return max(service.next_due(), self.guard.resume_at(type(service).__name__))

    def _handle_signals(self) -> None:
        received = self.signals.read()
        if signal.SIGCHLD in received:
            self.reaper.has_exits = True
            self.guard.run("Reaper", self.reaper.reap)
        for number in dict.fromkeys(received):  # each once: SIGHUP may come in storms
            self._handle_signal(signal.Signals(number), times=received.count(number))

    def _handle_signal(self, number: signal.Signals, *, times: int) -> None:
        if number == signal.SIGHUP and not is_terminal_gone():
            if not self.shutdown.is_requested:
                self.generations.reload()
        elif number in IGNORED:
            log.info("signal ignored: %s", number.name)
        elif number != signal.SIGCHLD:
            for _ in range(times):  # a second one ends the grace
                self.shutdown.request(number.name, at_once=number == signal.SIGQUIT)
