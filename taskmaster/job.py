"""The job, its states and its outcomes: pure data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import psycopg

from taskmaster.errors import TaskmasterError
from taskmaster.failure import Failure

HIGHEST_PRIORITY = 0
LOWEST_PRIORITY = 9


class State(StrEnum):
    """The state of a job, which is the table that holds it."""

    READY = "ready"  # waiting for a worker
    SCHEDULED = "scheduled"  # waiting for its time
    RUNNING = "running"  # in a lease
    REJECTED = "rejected"  # kept until it is requeued or deleted
    ACKED = "acked"  # kept only if the consumer keeps them
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.READY: frozenset({State.RUNNING, State.CANCELLED}),
    State.SCHEDULED: frozenset({State.READY, State.CANCELLED}),
    State.RUNNING: frozenset(
        {State.ACKED, State.REJECTED, State.SCHEDULED, State.READY, State.CANCELLED}
    ),
    State.REJECTED: frozenset({State.READY}),
    State.ACKED: frozenset(),
    State.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Ack:
    """The job is done."""


@dataclass(frozen=True, slots=True)
class Reject:
    """The job cannot be done. It is kept, with `reason`, until it is requeued or deleted."""

    reason: str = "rejected"


@dataclass(frozen=True, slots=True)
class Retry:
    """Run the job again, not before `delay_seconds` from now. This run counts against `max_runs`.

    If `delay_seconds` is None, the consumer's backoff decides. Less than 0.1 counts as 0.1.
    """

    delay_seconds: float | None = None
    reason: str = "retry"


@dataclass(frozen=True, slots=True)
class Snooze:
    """Run the job again, not before `delay_seconds` from now. This run does not count.

    Less than 0.1 counts as 0.1, so that a job that snoozes for ever does not keep a worker busy.
    """

    delay_seconds: float


Outcome = Ack | Reject | Retry | Snooze
ACK = Ack()


class JobContext(Protocol):
    """The worker as its jobs see it. `taskmaster.testing` provides a context without a worker."""

    @property
    def component(self) -> Any:
        """Return what the consumer's `component` yielded."""

    @property
    def stopping(self) -> bool:
        """Return True if the worker was asked to exit."""

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """Return the connection whose transaction the job runs in."""

    def progress(self, fraction: float, note: str) -> None:
        """Note how far the current run is."""


class Job(msgspec.Struct, frozen=True):
    """One unit of work, as its callback sees it.

    `payload` and `headers` are decoded JSON. `priority` is from 0 (first) to 9. `run_count` is the
    number of this run, 1 for the first. Times are the database's, with a time zone. `ready_at` is
    the time since which the job could run: when it was put, or became due, or was released.

    >>> from taskmaster.testing import make_job
    >>> make_job({"path": "a.jpg"}).payload["path"]
    'a.jpg'
    """

    # A Struct, because one is built per job on the hot path: 0.2 µs against 1.2 µs for a dataclass.

    id: int
    queue_name: str
    payload: Any
    headers: dict[str, Any] | None
    priority: int
    run_count: int
    created_at: datetime
    crashes: int = 0
    rescues: int = 0
    ready_at: datetime | None = None
    context: JobContext | None = None

    @property
    def component(self) -> Any:
        """Return what the consumer's `component` yielded in this worker, or None if it has none."""
        return None if self.context is None else self.context.component

    @property
    def stopping(self) -> bool:
        """Return True if the worker was asked to exit: a long callback should finish early."""
        return self.context is not None and self.context.stopping

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """Return the connection whose transaction commits the callback's writes and the job's end.

        It has the defaults of its role. `job.connection.transaction()` makes savepoints. The
        callback must not commit or roll back itself.

        Raises TaskmasterError unless the consumer has `delivery = "transactional"`.
        """
        if self.context is None:
            raise TaskmasterError("job.connection: this job was not made by a worker")
        return self.context.connection

    def progress(self, fraction: float, note: str = "") -> None:
        """Note how far the run is: `fraction` from 0 to 1, and up to 200 bytes of text in `note`.

        `taskmaster status` and `show` print it, and the record of a failed run keeps it. A call
        costs about a microsecond. Raises ValueError if an argument is out of range.

        >>> job.progress(0.5, "half of the pages")  # doctest: +SKIP
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be from 0 to 1, got {fraction!r}")
        if not isinstance(note, str):
            raise ValueError(f"a note on progress must be text, got {note!r:.100}")
        if self.context is not None:
            self.context.progress(fraction, note)


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as an administrator sees it: one row of the view `taskmaster.jobs`.

    `run_count` is the number of charged runs, including the present run of a running job. `run_at`
    is when a scheduled job is due. `worker` is the worker that runs the job. `failures` holds the
    last 20 failed runs, oldest first.
    """

    id: int
    queue_name: str
    payload: Any
    headers: dict[str, Any] | None
    priority: int
    state: State
    run_count: int
    run_at: datetime | None
    created_at: datetime
    failures: list[Failure]
    worker: str | None
