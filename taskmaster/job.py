"""The job, its states and its outcomes: pure data."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import psycopg

from taskmaster.errors import TaskmasterError

HIGHEST_PRIORITY = 0
LOWEST_PRIORITY = 9
UNKNOWN_CAUSE = "unknown"


class State(StrEnum):
    """Where a job is. Its state is the table that holds it."""

    READY = "ready"  # waiting for a worker
    SCHEDULED = "scheduled"  # waiting for its time
    RUNNING = "running"  # in a lease
    REJECTED = "rejected"  # kept until somebody requeues or deletes it
    ACKED = "acked"  # kept only where the queue keeps them
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
    """The job cannot be done: keep it, with `reason`, until somebody requeues or deletes it."""

    reason: str = "rejected"


@dataclass(frozen=True, slots=True)
class Retry:
    """Run the job again, not before `delay_seconds` from now. None: the backoff decides. Counts as a run."""

    delay_seconds: float | None = None
    reason: str = "retry"


@dataclass(frozen=True, slots=True)
class Snooze:
    """Run the job again, not before `delay_seconds` from now. Does not count as a run."""

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

    `run_count` is the number of this run: 1 the first time. Times are the database's, with time zone; `ready_at` is
    since when the job could run, which is when it was put unless it was delayed, retried or given back.
    A msgspec.Struct because one is built per job on the hot path: 0.2 µs against 1.2 µs for a frozen dataclass.
    """

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
        """What the consumer's `component` yielded in this worker; None when it has none."""
        return None if self.context is None else self.context.component

    @property
    def stopping(self) -> bool:
        """True once the worker was asked to leave: a long callback should wrap up."""
        return self.context is not None and self.context.stopping

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """With `delivery = "transactional"`: the connection whose transaction commits what the callback writes, and the
        job's end, together. It has the defaults of its role. `job.connection.transaction()` makes savepoints; to
        commit is not the callback's to do. Raises TaskmasterError with any other delivery."""
        if self.context is None:
            raise TaskmasterError("job.connection: this job runs nowhere")
        return self.context.connection

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the run is: `fraction` from 0 to 1, `note` up to 200 bytes. Shown by `taskmaster status` and
        `show`, and kept in the history of a run that goes wrong. Costs about a microsecond. Raises ValueError.

        >>> job.progress(0.5, "half of the pages")  # doctest: +SKIP
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be from 0 to 1, got {fraction!r}")
        if not isinstance(note, str):
            raise ValueError(f"a note on progress must be text, got {note!r:.100}")
        if self.context is not None:
            self.context.progress(fraction, note)


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Describe one failed run of a job, as the job's history keeps it.

    `cause` is one of: exception, retry, rejected, timeout, memory limit, cpu limit, out of memory,
    signal NAME, exit code N, lost database, lost host, shutdown. `run` is 1 for the first run.
    `worker` is "host:pid of its supervisor:serial number". `at` is when the run ended, in ISO 8601
    with the offset from UTC. `peak_memory_mb` is the worker's, over its life. `progress` is from 0 to 1.
    `stdout` and `stderr` are the last 4 kB that the run printed.

    A field that was not recorded has its default: 0 for `run`, "" for texts, None for the rest.

    >>> Failure(cause="rejected", message="no such file", run=1).message
    'no such file'
    """

    cause: str
    message: str
    run: int = 0
    worker: str = ""
    host: str = ""
    duration_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    at: str = ""
    progress: float | None = None
    progress_note: str | None = None
    traceback: str = ""
    stdout: str = ""
    stderr: str = ""


def parse_failures(value: object) -> list[Failure]:
    """Return a job's history, given as decoded JSON. Never raises, whatever SQL has put there."""
    if value is None:
        return []
    return [parse_failure(entry) for entry in (value if isinstance(value, list) else [value])]


def parse_failure(entry: object) -> Failure:
    """Return one record of a history, given as decoded JSON. Never raises.

    Fields that are missing or of another type have their defaults.
    """
    if not isinstance(entry, dict):
        return Failure(cause=UNKNOWN_CAUSE, message=str(entry))
    try:
        return msgspec.convert(entry, Failure)
    except msgspec.ValidationError:
        return Failure(**{"cause": UNKNOWN_CAUSE, "message": "", **_readable_fields(entry)})


def _readable_fields(entry: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(Failure):
        with suppress(KeyError, msgspec.ValidationError):
            found[field.name] = msgspec.convert(entry[field.name], field.type)
    return found


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the view `taskmaster.jobs`: a job as an administrator sees it."""

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
