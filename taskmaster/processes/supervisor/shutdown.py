"""The shutdown: stop claiming, let running jobs finish within the grace, then kill the workers.

A service of the supervisor. A signal or a failing pool begins it.
"""

import logging
import math
import time
from dataclasses import dataclass

from taskmaster.options import SupervisorOptions
from taskmaster.processes.supervisor.pool.crash_reporter import CrashReportService
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import BaseService

log = logging.getLogger("taskmaster.supervisor")


@dataclass(slots=True)
class ShutdownService(BaseService):
    """Stops the generations when it is requested, and kills them at `kill_at`.

    `kill_at` is None until a shutdown is requested. `failure` is the reason if the pool gave up.
    """

    options: SupervisorOptions
    generations: Generations
    crash_reporter: CrashReportService
    kill_at: float | None = None
    failure: str | None = None

    @property
    def is_requested(self) -> bool:
        return self.kill_at is not None

    @property
    def is_finished(self) -> bool:
        """Whether a shutdown was requested and all workers have exited."""
        if self.kill_at is None or any(self.generations.processes()):
            return False
        return not self.crash_reporter.is_awaited(time.monotonic())

    def request(self, why: str, *, at_once: bool = False) -> None:
        """Begin the shutdown. A second request ends the grace, and `at_once` gives none."""
        is_now = at_once or self.kill_at is not None
        grace = 0.0 if is_now else self.options.grace_seconds
        when = "now" if is_now else f"within {grace:g} s, a second signal stops now"
        log.info("supervisor stopping: %s, %s", why, when)
        self.kill_at = time.monotonic() + grace
        self.generations.stop()
        self.crash_reporter.on_stop()

    def run_due(self, now: float) -> None:
        """Begin the shutdown if the workers fail, and kill them when the grace is over."""
        self.failure = self.failure or self.generations.failure
        if self.failure is not None and self.kill_at is None:
            self.request("workers fail")
        if self.kill_at is not None and now >= self.kill_at:
            self._kill_workers()

    def next_due(self) -> float:
        now = time.monotonic()
        return self.kill_at if self.kill_at is not None and self.kill_at > now else math.inf

    def _kill_workers(self) -> None:
        """Kill the workers that are left. They are reaped in the next steps."""
        count = self.generations.kill_all()
        if count:
            log.warning("grace over, killing workers: count=%d", count)
