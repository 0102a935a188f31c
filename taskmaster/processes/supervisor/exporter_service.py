"""The service that keeps the exporter running and replies to its questions.

It runs in the supervisor. The exporter's own code is in processes/exporter/.
"""

import errno
import logging
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taskmaster.backoff import Backoff
from taskmaster.errors import InvalidConfig
from taskmaster.options import host_and_port
from taskmaster.processes.ipc.plan import ExporterPlan
from taskmaster.processes.ipc.snapshot import QUESTION_BYTES, Snapshot, send_snapshot
from taskmaster.processes.ipc.spawn import end, with_channel
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.system.shortage import is_shortage, reason_of, shortages

log = logging.getLogger("taskmaster.supervisor")

BACKLOG = 64
EXIT_SECONDS = 5.0
SLOW_READER = (errno.EAGAIN, errno.EPIPE, errno.ECONNRESET, errno.EMSGSIZE)


@dataclass(slots=True)
class ExporterService(BaseService):
    """Keeps one exporter running. The listening socket stays open while an exporter is replaced.

    `snapshot` takes the number of a question and returns the reply.
    """

    listening: socket.socket
    plan: ExporterPlan
    snapshot: Callable[[int], Snapshot]
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.1, max_seconds=10.0))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def owns(self, pid: int) -> bool:
        return pid == self.pid

    def run_due(self, now: float) -> None:
        """Start an exporter if there is none."""
        if self.process is None and now >= self.start_at:
            self._try_start(now)

    def next_due(self) -> float:
        return self.start_at if self.process is None else math.inf

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        return {} if self.channel is None else {self.channel.fileno(): self.reply}

    def reply(self) -> None:
        """Send a snapshot for the last question: the exporter no longer waits for earlier ones.

        If the snapshot cannot be sent now, it is dropped, and the exporter asks again.
        """
        if self.channel is None:  # the exporter exited after its channel became readable
            return
        try:
            question = _last_question(self.channel)
            if question:
                snapshot = self.snapshot(int.from_bytes(question, "big"))
                send_snapshot(self.channel, snapshot)
                return
        except OSError as error:
            if error.errno in SLOW_READER or is_shortage(error):
                return
            raise
        self.channel.close()  # the exporter is gone, and will be reaped
        self.channel = None

    def on_exit(self) -> None:
        """Reap the exporter, and plan the start of another one."""
        now = time.monotonic()
        self._stop()
        log.warning("exporter exited: starting another")
        self.start_at = now + self.backoff.record(now - self.started_at)

    def close(self) -> None:
        self._stop()
        self.listening.close()

    def _try_start(self, now: float) -> None:
        """Start the exporter. If that fails, jobs run without it, and it is tried again."""
        try:
            self._start(now)
        except (OSError, MemoryError) as error:
            shortages.warn("exporter not started", reason_of(error))
            self.start_at = now + self.backoff.record()

    def _start(self, now: float) -> None:
        fds = (self.listening.fileno(),)
        self.process, self.channel = with_channel(
            "taskmaster.processes.exporter.main", self.plan, fds, process_group=0
        )
        # The supervisor does not wait for an exporter that does not read.
        self.channel.setblocking(False)
        self.started_at = now

    def _stop(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.process is not None:
            end(self.process, EXIT_SECONDS)
        self.channel = self.process = None


def _last_question(channel: socket.socket) -> bytes:
    """Return the last question that has arrived, or nothing if the exporter is gone."""
    question = channel.recv(QUESTION_BYTES)
    while question:
        try:
            newer = channel.recv(QUESTION_BYTES)
        except BlockingIOError:
            break
        question = newer
    return question


def exporter_service(
    http: str,
    plan: ExporterPlan,
    snapshot: Callable[[int], Snapshot],
    *,
    source: str,
) -> ExporterService:
    """Return the service, which listens on `http`, a "host:port".

    Raises InvalidConfig if it cannot listen there.
    """
    host, port = host_and_port(http)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error
        raise InvalidConfig(
            f"{source}: supervisor: cannot listen on http = {http!r}: {reason}; "
            "choose another port, or 0 for any free one"
        ) from None
    listening.setblocking(True)  # whatever socket.setdefaulttimeout was called with
    bound = listening.getsockname()[1]
    log.info(
        "exporter listening: http://%s:%d/metrics", f"[{host}]" if ":" in host else host, bound
    )
    return ExporterService(listening, plan, snapshot)
