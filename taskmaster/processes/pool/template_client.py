"""The supervisor's side of the template: start it, order workers from it, replace it when it is lost."""

import logging
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskmaster.errors import InvalidConfig, WorkersFailed
from taskmaster.imports import join_names, name_of
from taskmaster.processes.pool.cause import in_words
from taskmaster.processes.shared import messages
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.plan import Plan
from taskmaster.processes.shared.spawn import hand_over, interpreter

log = logging.getLogger("taskmaster.supervisor")

PRELOAD_SECONDS = 60.0
ANSWER_SECONDS = 5.0
DYING_SECONDS = 0.5  # between the end of its channel and its own
MOST_ORDERED = 32
# One thread per worker: a pool per process on top of a process per core only makes them wait for each other, and a
# template with threads cannot be forked. Whoever has set these has decided otherwise.
SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(slots=True)
class TemplateClient:
    """At most one template at a time; workers that an earlier one has forked live on."""

    plan: Plan
    scoreboard_fd: int
    lifeline_fd: int
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    ready: bool = False
    was_ready: bool = False
    reports: bool = False  # whether some middleware wants to be told of crashes
    answer_by: float | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    ordered: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.05, max_seconds=1.0))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    @property
    def accepts_orders(self) -> bool:
        """More at once would fill the channel in both directions, and each end would wait for the other."""
        return self.ready and len(self.ordered) < MOST_ORDERED

    def run_due(self, now: float) -> None:
        """Start a template when there is none, and give up on one that does not answer."""
        if self.answer_by is not None and now >= self.answer_by:
            self.end("it did not answer in time")
        if self.process is None and now >= self.start_at:
            self.start(now)

    def next_due(self) -> float | None:
        """When `tend` has something to do."""
        return self.start_at if self.process is None else self.answer_by

    def start(self, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan_fd = hand_over(self.plan)
        fds = (theirs.fileno(), plan_fd, self.scoreboard_fd, self.lifeline_fd)
        environment = dict.fromkeys(SINGLE_THREADED, "1") | os.environ
        self.process = interpreter(
            "taskmaster.processes.template", fds, environment=environment, process_group=0
        )
        theirs.close()
        os.close(plan_fd)
        ours.settimeout(ANSWER_SECONDS)
        self.channel, self.ready = ours, False
        self.started_at, self.answer_by = now, now + PRELOAD_SECONDS

    def order(
        self, wanted: messages.WorkerOrder | messages.ReporterOrder, fds: Sequence[int]
    ) -> None:
        """Ask for a process; `read` tells when it is born, `take_lost_forks` that it never will be."""
        assert self.channel is not None
        self.ordered.add(wanted.serial)
        try:
            messages.send(self.channel, wanted, fds)
        except OSError as error:
            self.end(str(error))
            return
        if self.answer_by is None:
            self.answer_by = time.monotonic() + ANSWER_SECONDS

    def read(self) -> messages.Forked | None:
        """Take in one message of the template's. Raises InvalidConfig when it cannot load what the user named."""
        if self.channel is None:  # it was lost since it became readable
            return None
        try:
            received = messages.receive(self.channel)
        except OSError as error:
            self.end(str(error))
            return None
        match received and received.message:
            case messages.Ready(reports=reports):
                self.reports = reports
                self.ready = self.was_ready = True
                self.answer_by = None
            case messages.Failed(sentence=sentence):
                self.refused(sentence)
            case messages.Forked(serial=serial) as on_forked:
                self.ordered.discard(serial)
                self.answer_by = time.monotonic() + ANSWER_SECONDS if self.ordered else None
                return on_forked
            case _:
                self.end(self.gone())
        return None

    def refused(self, sentence: str) -> None:
        if not self.was_ready:
            raise InvalidConfig(sentence)
        log.error("a new template cannot start: %s", sentence)

    def gone(self) -> str:
        """How the template ended by itself."""
        assert self.process is not None
        try:
            code = self.process.wait(DYING_SECONDS)
        except subprocess.TimeoutExpired:
            return "it is gone"
        return f"it ended with {in_words(code)}"

    def end(self, reason: str) -> None:
        """Let go of the template; a new one starts after a while."""
        now = time.monotonic()
        was_ready = self.ready
        self.kill()
        log.warning("the template is replaced: %s", reason)
        wait = self.backoff.record(now - self.started_at if was_ready else 0.0)
        if not was_ready and wait >= self.backoff.max_seconds:
            callbacks = join_names([name_of(consumer.callback) for consumer in self.plan.consumers])
            raise WorkersFailed(
                f"the template process dies before it is ready, importing {callbacks}: {reason}"
            )
        self.start_at = now + max(wait, self.backoff.base_seconds)

    def kill(self) -> None:
        """Kill the template's process group and reap it. Its workers are in groups of their own."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, 9)
            self.process.wait(ANSWER_SECONDS)
        if self.channel is not None:
            self.channel.close()  # only now: one that lives would complain that nobody takes its answer
        self.channel = self.process = self.answer_by = None
        self.ready = False
        self.lost |= self.ordered
        self.ordered = set()

    def take_lost_forks(self) -> set[int]:
        """Serials of orders that nobody will answer."""
        lost, self.lost = self.lost, set()
        return lost
