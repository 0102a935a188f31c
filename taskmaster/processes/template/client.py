"""The supervisor's client for its template: start it, order processes from it, replace it.

This file runs in the supervisor, process.py in the template.
"""

import logging
import math
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskmaster.backoff import Backoff
from taskmaster.errors import InvalidConfig, WorkersFailed
from taskmaster.imports import join_names, name_of
from taskmaster.processes.ipc import messages
from taskmaster.processes.ipc.plan import Plan
from taskmaster.processes.ipc.python import Python
from taskmaster.processes.ipc.spawn import OTHER_EDITION, UPGRADED, describe_exit, end, with_channel
from taskmaster.processes.system.process_groups import kill_group
from taskmaster.processes.system.shortage import is_shortage, reason_of, shortages

log = logging.getLogger("taskmaster.supervisor")

PRELOAD_SECONDS = 60.0
REPLY_SECONDS = 5.0
START_ATTEMPTS = 6  # within about 1.6 s, before the first template is ready
EXIT_SECONDS = 0.5  # for the template to exit after it has closed its channel
MOST_ORDERED = 32


@dataclass(slots=True)
class TemplateClient:
    """Keeps one template running. Workers that an earlier template has forked go on.

    If no template ever becomes ready, the configuration cannot work, and that is an error. After
    one was ready, the next are tried for as long as it takes: the code on disk may be broken for a
    while, and the workers that run are not.

    `ordered` holds the serials of forks that are not confirmed yet, `lost` the serials of forks
    that never will be. `wants_crash_reports`: a middleware of this configuration reports crashes.
    `python` was chosen when the configuration was read: a later template runs the same release.
    """

    plan: Plan
    scoreboard_fd: int
    lifeline_fd: int
    python: Python | None = None
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    is_ready: bool = False
    was_ready: bool = False
    wants_crash_reports: bool = False
    reply_by: float | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    ordered: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    @property
    def accepts_orders(self) -> bool:
        """Whether one more order may be sent.

        With more orders at once, the channel could fill in both directions, and each end would wait
        for the other.
        """
        return self.is_ready and len(self.ordered) < MOST_ORDERED

    def run_due(self, now: float) -> None:
        """Start a template if there is none, and replace one that does not reply in time.

        Raises WorkersFailed if templates exit again and again before they are ready.
        """
        if self.reply_by is not None and now >= self.reply_by:
            self.replace("it did not reply in time")
        if self.process is None and now >= self.start_at:
            self._try_start(now)

    def next_due(self) -> float:
        """Return when `run_due` has something to do."""
        if self.process is None:
            return self.start_at
        return math.inf if self.reply_by is None else self.reply_by

    def order(
        self, order: messages.WorkerOrder | messages.ReporterOrder, fds: Sequence[int]
    ) -> None:
        """Order a process. Later `read` returns its pid, or `take_lost_forks` its serial."""
        assert self.channel is not None
        self.ordered.add(order.serial)
        try:
            messages.send(self.channel, order, fds)
        except OSError as error:
            if is_shortage(error):  # the template is none the worse for it
                shortages.warn("process not ordered", reason_of(error))
                self.ordered.discard(order.serial)
                self.lost.add(order.serial)
            else:
                self.replace(str(error))
            return
        if self.reply_by is None:
            self.reply_by = time.monotonic() + REPLY_SECONDS

    def read(self) -> messages.Forked | None:
        """Read one message of the template, and return it if a process was forked.

        Raises InvalidConfig if the template cannot load what the configuration names, and
        WorkersFailed as `run_due` does.
        """
        if self.channel is None:  # the template was lost after its channel became readable
            return None
        try:
            received = messages.receive(self.channel)
        except OSError as error:
            self.replace(str(error))
            return None
        match received and received.message:
            case messages.Ready(reports=reports):
                self.wants_crash_reports = reports
                self.is_ready = self.was_ready = True
                self.reply_by = None
            case messages.Noted(sentence=sentence):
                log.warning("made before the fork: %s", sentence)
            case messages.Failed(sentence=sentence):
                self._on_failed(sentence)
            case messages.Forked(serial=serial) as forked:
                self.ordered.discard(serial)
                self.reply_by = time.monotonic() + REPLY_SECONDS if self.ordered else None
                return forked
            case _:
                self.on_exit()
        return None

    def on_exit(self) -> None:
        """Replace a template that has exited or is about to exit.

        Raises WorkersFailed as `run_due` does, and at once if the first is of another edition.
        """
        assert self.process is not None
        try:
            code = self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.replace("it closed its channel")
        else:
            if code == OTHER_EDITION and not self.was_ready:
                raise WorkersFailed(UPGRADED)
            self.replace(describe_exit(code))

    def replace(self, reason: str) -> None:
        """Kill the template, and start another one after a while.

        Raises WorkersFailed as `run_due` does.
        """
        now = time.monotonic()
        was_ready = self.is_ready
        self.kill()
        log.warning("template replaced: %s", reason)
        self._plan_start(now, reason, lived_seconds=now - self.started_at if was_ready else 0.0)

    def kill(self) -> None:
        """Kill the template's process group and reap it. Its workers are in groups of their own."""
        if self.process is not None:
            if self.process.poll() is None:
                kill_group(self.process.pid)
            end(self.process, REPLY_SECONDS)
        if self.channel is not None:
            self.channel.close()  # last: a running template would log that its channel broke
        self.channel = self.process = self.reply_by = None
        self.is_ready = False
        self.lost |= self.ordered
        self.ordered = set()

    def take_lost_forks(self) -> set[int]:
        """Return the serials whose template is gone, each serial once."""
        lost, self.lost = self.lost, set()
        return lost

    def _try_start(self, now: float) -> None:
        try:
            self._start(now)
        except (OSError, MemoryError) as error:
            shortages.warn("template not started", reason_of(error))
            reason = f"it cannot be started ({reason_of(error)})"
            self._plan_start(now, reason, lived_seconds=0.0)

    def _plan_start(self, now: float, reason: str, *, lived_seconds: float) -> None:
        wait = self.backoff.record(lived_seconds)
        if not self.was_ready and self.backoff.failures >= START_ATTEMPTS:
            callbacks = join_names([name_of(consumer.callback) for consumer in self.plan.consumers])
            raise WorkersFailed(
                f"the template process exits before it is ready, importing {callbacks}: {reason}"
            )
        self.start_at = now + max(wait, self.backoff.base_seconds)

    def _start(self, now: float) -> None:
        self.process, self.channel = with_channel(
            "taskmaster.processes.template.process",
            self.plan,
            (self.scoreboard_fd, self.lifeline_fd),
            python=self.python,
            process_group=0,
        )
        self.channel.settimeout(REPLY_SECONDS)
        self.is_ready = False
        self.started_at, self.reply_by = now, now + PRELOAD_SECONDS

    def _on_failed(self, sentence: str) -> None:
        if not self.was_ready:
            raise InvalidConfig(sentence)
        self.replace(f"it failed to start: {sentence}")
