"""The service that reports crashes to middlewares such as sentry.

The middlewares were killed with the worker, and the supervisor runs no user code. So the template
forks a reporter process (worker/reporter.py) for the crashes that have come in.
"""

import itertools
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc import messages
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.system.exit_status import describe_status
from taskmaster.processes.system.process_groups import kill_group
from taskmaster.processes.template.client import TemplateClient

log = logging.getLogger("taskmaster.supervisor")

SERIALS = itertools.count(-1, -1)  # workers have the positive ones
MOST_PENDING = 100
REPORT_SECONDS = 10.0
FORK_SECONDS = 1.0
STOP_SECONDS = 2.0  # for a reporter that is running when the supervisor stops


@dataclass(slots=True)
class CrashReportService(BaseService):
    """Runs one reporter process at a time. No worker waits for it, and a hung reporter is killed.

    `template` returns the client of the current generation.
    """

    template: Callable[[], TemplateClient]
    pending: deque[CrashReport] = field(default_factory=deque)
    sent: list[CrashReport] = field(default_factory=list)
    serial: int | None = None
    pid: int | None = None
    kill_at: float | None = None

    def report(self, crashes: Iterable[CrashReport]) -> None:
        """Report crashes as soon as the template can fork.

        If too many are pending, the oldest are dropped.
        """
        self.pending.extend(crashes)
        dropped = len(self.pending) - MOST_PENDING
        if dropped > 0:
            log.warning("crash reports dropped: crashes=%d, too many are pending", dropped)
            for _ in range(dropped):
                self.pending.popleft()

    # -- the service

    def run_due(self, now: float) -> None:
        """Start a reporter for the pending crashes, and kill one that hangs."""
        if self.kill_at is not None and now >= self.kill_at:
            count = len(self.sent)
            log.warning("crash reporter killed: crashes=%d seconds=%g", count, REPORT_SECONDS)
            self._kill()
        template = self.template()
        if self.pending and template.is_ready and not template.wants_crash_reports:
            self.pending.clear()
        if self.pending and self.serial is None and template.accepts_orders:
            self._order(template, now)

    def next_due(self) -> float:
        return math.inf if self.kill_at is None else self.kill_at

    def close(self) -> None:
        self._kill()

    # -- the reporter process

    def on_forked(self, forked: messages.Forked) -> bool:
        """Note the pid. Return False if the process was not ordered by this service."""
        if forked.serial != self.serial:
            return False
        self.pid = forked.pid or None
        if self.pid is None:
            self.on_fork_lost({forked.serial})
        return True

    def on_fork_lost(self, serials: set[int]) -> None:
        """Order the reporter again if its template was lost before the fork."""
        if self.serial in serials and self.pid is None:
            self.pending.extendleft(reversed(self.sent))
            self._reset()

    def on_exit(self, status: int) -> None:
        """Log the exit of the reporter if it failed, and make room for the next one."""
        if status and self.kill_at is not None:  # without kill_at, its kill was logged already
            count, words = len(self.sent), describe_status(status)
            log.warning("crash reporter failed: crashes=%d cause=%r", count, words)
        self._reset()

    def on_stop(self) -> None:
        """Drop the pending crashes, because a stopping supervisor has no template."""
        if self.pending:
            log.warning(
                "crash reports dropped: crashes=%d, the supervisor stops", len(self.pending)
            )
            self.pending.clear()

    def is_awaited(self, now: float) -> bool:
        """Return whether the stopping supervisor should still wait for the reporter."""
        if self.serial is None or self.kill_at is None:
            return False
        return now < self.kill_at - REPORT_SECONDS + STOP_SECONDS

    def _order(self, template: TemplateClient, now: float) -> None:
        with os.fdopen(os.memfd_create("taskmaster-crashes"), "wb") as file:
            file.write(msgspec.json.encode(list(self.pending)))
            file.flush()
            self.sent = list(self.pending)
            self.pending.clear()
            self.serial, self.kill_at = next(SERIALS), now + REPORT_SECONDS
            template.order(messages.ReporterOrder(self.serial), [file.fileno()])

    def _kill(self) -> None:
        if self.pid is not None:
            self.kill_at = None
            kill_group(self.pid)
        elif self.serial is not None:  # the fork is not confirmed yet, so try again
            self.kill_at = time.monotonic() + FORK_SECONDS

    def _reset(self) -> None:
        self.serial = self.pid = self.kill_at = None
        self.sent = []
