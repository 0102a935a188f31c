"""The supervisor's side of the exporter: its address, its process, the answers to its questions."""

import errno
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from taskmaster.errors import InvalidConfig
from taskmaster.options import host_and_port
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.plan import Database, ExporterPlan
from taskmaster.processes.shared.snapshot import QUESTION_BYTES, Snapshot
from taskmaster.processes.shared.spawn import hand_over, interpreter

log = logging.getLogger("taskmaster.supervisor")

BACKLOG = 64
END_SECONDS = 5.0
SLOW_READER = (errno.EAGAIN, errno.EPIPE, errno.ECONNRESET, errno.EMSGSIZE)


@dataclass(slots=True)
class ExporterService:
    """Keeps one exporter alive. The listening socket is ours, so that it stays open while an exporter is replaced."""

    listening: socket.socket
    plan: ExporterPlan
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
        """Start an exporter when there is none."""
        if self.process is None and now >= self.start_at:
            self.start(now)

    def next_due(self) -> float | None:
        return self.start_at if self.process is None else None

    def start(self, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan_fd = hand_over(self.plan)
        fds = (theirs.fileno(), self.listening.fileno(), plan_fd)
        self.process = interpreter("taskmaster.processes.exporter.main", fds, process_group=0)
        theirs.close()
        os.close(plan_fd)
        ours.setblocking(False)  # an exporter that does not read is no reason to wait
        self.channel, self.started_at = ours, now

    def answer(self, snapshot: Callable[[int], Snapshot]) -> None:
        """Read one question, and answer it. What cannot be sent now is not: the exporter asks again."""
        if self.channel is None:  # its exporter was buried since it became readable
            return
        try:
            question = self.channel.recv(QUESTION_BYTES)
            if question:
                self.channel.send(msgspec.json.encode(snapshot(int.from_bytes(question, "big"))))
                return
        except OSError as error:
            if error.errno in SLOW_READER:
                return
            raise
        self.channel.close()  # it is gone, and its burial follows
        self.channel = None

    def died(self) -> None:
        """Its process is dead; another starts after a while."""
        now = time.monotonic()
        self.end()
        log.warning("the exporter died, another takes its place")
        self.start_at = now + self.backoff.record(now - self.started_at)

    def end(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait(END_SECONDS)
        self.channel = self.process = None

    def close(self) -> None:
        self.end()
        self.listening.close()


def exporter_service_at(
    http: str, database: Database, metrics_dir: str, *, source: str
) -> ExporterService:
    """Listen on `http`, "host:port". Raises InvalidConfig when that cannot be had."""
    host, port = host_and_port(http)
    try:
        listening = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        raise InvalidConfig(
            f"{source}: supervisor: http = {http!r} cannot be had: {error.strerror}; choose another port, or 0 for any"
        ) from None
    bound = listening.getsockname()[1]
    log.info("metrics on http://%s:%d/metrics", f"[{host}]" if ":" in host else host, bound)
    return ExporterService(listening, ExporterPlan(database, metrics_dir))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
