"""The supervisor's side of crash reports: one reporter at a time is forked from the template for what has come in."""

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from taskmaster.middleware import CrashReport
from taskmaster.processes.pool.cause import cause
from taskmaster.processes.pool.template_client import TemplateClient
from taskmaster.processes.pool.worker_process import kill_group
from taskmaster.processes.shared import messages

log = logging.getLogger("taskmaster.supervisor")

SERIALS = itertools.count(-1, -1)  # workers have the others
MOST_PENDING = 100
REPORT_SECONDS = 10.0
FORK_SECONDS = 1.0


@dataclass(slots=True)
class Reporter:
    """Nobody waits for a report: one that hangs is ended, and what is too much is dropped, and said."""

    pending: deque[CrashReport] = field(default_factory=deque)
    sent: list[CrashReport] = field(default_factory=list)
    serial: int | None = None
    pid: int | None = None
    end_at: float | None = None

    @property
    def busy(self) -> bool:
        return self.serial is not None

    def take(self, crashes: Iterable[CrashReport]) -> None:
        """Crashes to be reported when a template can."""
        self.pending.extend(crashes)
        if len(self.pending) > MOST_PENDING:
            dropped = len(self.pending) - MOST_PENDING
            log.warning("%d crashes are not reported: more came in than can be", dropped)
            for _ in range(dropped):
                self.pending.popleft()

    def given_up(self) -> list[CrashReport]:
        """What is still to be reported, and will not be by this one."""
        pending = list(self.pending)
        self.pending.clear()
        return pending

    def run_due(self, template: TemplateClient, now: float) -> None:
        """Have one started for what is pending, and end one that hangs."""
        if self.end_at is not None and now >= self.end_at:
            log.warning(
                "reporting %d crashes took longer than %g s: given up",
                len(self.sent),
                REPORT_SECONDS,
            )
            self.end()
        if self.pending and template.ready and not template.reports:
            self.pending.clear()
        if self.pending and not self.busy and template.accepts_orders:
            self.order(template, now)

    def order(self, template: TemplateClient, now: float) -> None:
        self.sent = list(self.pending)
        self.pending.clear()
        self.serial, self.end_at = next(SERIALS), now + REPORT_SECONDS
        fd = os.memfd_create("taskmaster-crashes")
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(self.sent))
            file.flush()
            template.order(messages.ReporterOrder(self.serial), [fd])

    def on_forked(self, forked: messages.Forked) -> bool:
        """Is it ours?"""
        if forked.serial != self.serial:
            return False
        self.pid = forked.pid or None
        if self.pid is None:
            self.on_fork_lost({forked.serial})
        return True

    def on_fork_lost(self, serials: set[int]) -> None:
        """The template was lost with the order: it is given to the next one."""
        if self.serial in serials and self.pid is None:
            self.pending.extendleft(reversed(self.sent))
            self.done()

    def ended(self, status: int) -> None:
        """It has been waited for."""
        if status and self.end_at is not None:  # else it was ended by us, and that was said
            log.warning(
                "the reporter of %d crashes ended with %s: they may be unreported",
                len(self.sent),
                cause(status),
            )
        self.done()

    def done(self) -> None:
        self.serial = self.pid = self.end_at = None
        self.sent = []

    def end(self) -> None:
        if self.pid is None:
            self.end_at = (
                time.monotonic() + FORK_SECONDS
            )  # it may yet be born, or its template be lost
            return
        self.end_at = None
        kill_group(self.pid)
