"""A worker exit as a value, and the outbox to which the pool gives it.

Each way in which a worker ends is a reason. One more way, such as cancelling a running job, is one
more reason here and its case in policy.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from taskmaster.consumer import Consumer
from taskmaster.processes.ipc.scoreboard import Claims, UnsettledBatch


class Usage(NamedTuple):
    """The memory and CPU time of a process over its lifetime, as `wait4` reports them."""

    peak_mb: float = 0.0
    cpu_ns: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The worker exited normally, between two jobs."""

    cause: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """The worker crashed or was killed from outside: its current job is charged a crash."""

    cause: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The supervisor killed the worker for reasons of its own: no job is charged."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitExceeded:
    """The current run exceeded a limit, so the supervisor killed its worker.

    `started_ns` distinguishes this run from the next one of the same job. `cause` and `sentence` go
    into the job's failure record.
    """

    job_id: int
    started_ns: int
    cause: str
    sentence: str


Reason = Finished | Crashed | LimitExceeded | Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExit:
    """The end of one worker process, as its supervisor saw it.

    `exited_ns` is monotonic. `stack` is the stack that the worker wrote before it was killed,
    `printed` is the end of the run's standard output and error, and `backend` is the pid of the
    server process of its connection. `claims` and `lost_leases` are its counts over its lifetime.
    """

    consumer: Consumer
    worker: str
    pid: int
    reason: Reason
    batch: UnsettledBatch | None
    exited_ns: int
    usage: Usage = field(default_factory=Usage)
    stack: str | None = None
    printed: tuple[str, str] = ("", "")
    backend: int = 0
    claims: Claims = field(default_factory=Claims)
    lost_leases: int = 0

    @property
    def cause(self) -> str:
        """The cause in a few words, for the label of a metric and for failure records."""
        return self.reason.cause


class Outbox(Protocol):
    """The pool's way to the database. It is implemented by settlements.py."""

    def settle(self, worker_exit: WorkerExit) -> None:
        """Settle the batch of a worker that exited."""

    def release(self, token: UUID, ids: Sequence[int]) -> None:
        """Release the jobs of a batch that its worker will not start."""
