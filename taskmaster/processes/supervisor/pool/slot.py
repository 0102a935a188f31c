"""A worker slot: one place in the pool, vacant or occupied by a worker process."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from taskmaster.backoff import Backoff
from taskmaster.consumer import Consumer
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.scoreboard import Phase, ScoreboardRow
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess

SHOWN_AFTER_SECONDS = 1.0


class WorkerState(StrEnum):
    """The state of a worker slot."""

    VACANT = "vacant"  # no process; one is started when the backoff allows it
    STARTING = "starting"  # ordered from the template, not forked yet
    BOOTING = "booting"  # forked, component not entered yet
    PARKED = "parked"  # the canary of a reload, waits until its generation takes over
    IDLE = "idle"  # waits for a wakeup
    BUSY = "busy"  # claims or runs jobs, or was just woken
    CONDEMNED = "condemned"  # over a limit, killed as soon as its stack is written
    EXITING = "exiting"  # has left its loop, closes its component and middlewares


# From every occupied state a process may also crash or be killed, which makes its slot vacant. A
# condemned worker whose job ends in time is spared, and is then whatever its row says.
TRANSITIONS: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.VACANT: frozenset({WorkerState.STARTING}),
    WorkerState.STARTING: frozenset({WorkerState.BOOTING}),
    WorkerState.BOOTING: frozenset({WorkerState.PARKED, WorkerState.BUSY, WorkerState.EXITING}),
    WorkerState.PARKED: frozenset({WorkerState.BUSY, WorkerState.EXITING}),
    WorkerState.IDLE: frozenset({WorkerState.BUSY, WorkerState.EXITING}),
    WorkerState.BUSY: frozenset({WorkerState.IDLE, WorkerState.CONDEMNED, WorkerState.EXITING}),
    WorkerState.CONDEMNED: frozenset(
        {WorkerState.VACANT, WorkerState.BUSY, WorkerState.IDLE, WorkerState.EXITING}
    ),
    WorkerState.EXITING: frozenset({WorkerState.VACANT}),
}
UP = frozenset(WorkerState) - {WorkerState.VACANT, WorkerState.STARTING, WorkerState.BOOTING}


@dataclass(slots=True)
class WorkerSlot:
    """One place of a pool. A vacant slot is filled at `start_at` or later.

    `has_been_up`: a worker that has exited by now was up here.
    """

    index: int
    consumer_index: int
    consumer: Consumer
    row: ScoreboardRow
    backoff: Backoff
    process: WorkerProcess | None = None
    start_at: float = 0.0
    failed_boots: int = 0
    has_been_up: bool = False

    @property
    def state(self) -> WorkerState:
        """The state, computed from the process and from the worker's row."""
        if self.process is None:
            return WorkerState.VACANT
        if self.process.pid is None:
            return WorkerState.STARTING
        if self.process.limit is not None:
            return WorkerState.CONDEMNED
        match self.row.phase:
            case Phase.BOOTING:
                return WorkerState.BOOTING
            case Phase.EXITING:
                return WorkerState.EXITING
            case _ if self.process.is_parked:
                return WorkerState.PARKED
            case Phase.IDLE if not self.row.is_woken:
                return WorkerState.IDLE
        return WorkerState.BUSY

    @property
    def is_up(self) -> bool:
        """Whether the worker has entered its component and built its middlewares."""
        return self.state in UP

    @property
    def is_idle(self) -> bool:
        """Whether the worker waits for jobs, even if a wakeup is on its way."""
        return self.process is not None and self.row.phase == Phase.IDLE

    def wake(self) -> bool:
        """Send a wakeup. Return False if the worker is not up, is parked, or has one already."""
        if self.process is None or self.process.is_parked or self.row.is_woken:
            return False
        if self.row.phase == Phase.BOOTING:
            return False
        self.row.is_woken = True
        self.process.wakeups.put()
        return True

    def unpark(self) -> None:
        """Let a parked worker claim jobs."""
        assert self.process is not None
        self.process.is_parked = False
        self.wake()

    def stop(self) -> None:
        """Ask the worker to exit after its current job."""
        self.row.is_stopping = True
        if self.process is not None:
            self.process.wakeups.put()

    def withdraw_permits(self) -> tuple[UUID, Sequence[int]] | None:
        """Keep the worker from starting the rest of its batch.

        Return the token and the jobs that it will not start, or None if there are none.
        """
        if self.process is None:
            return None
        token, ids = before = self.row.batch.current()
        drained = permits.drain(self.process.permits_fd)
        # If the batch has changed, the worker finds no permits and releases the rest by itself.
        is_unchanged = before == self.row.batch.current() and drained <= len(ids)
        return (token, ids[len(ids) - drained :]) if drained and is_unchanged else None

    def has_jobs_waiting_for(self, seconds: float) -> bool:
        """Return whether jobs of the batch have waited for longer than `seconds`.

        A batch is sized to take 20 ms in all.
        """
        return self.row.batch.seconds_with_unstarted_jobs() > seconds

    def running(self) -> dict[str, Any] | None:
        """Return the current run for `taskmaster status`, or None.

        A run is shown after a second, or as soon as it has reported progress.
        """
        run, process = self.row.batch.current_run(), self.process
        if run is None or process is None:
            return None
        seconds = (time.monotonic_ns() - run.started_ns) / 1e9
        progress = self.row.batch.progress()
        if progress is None and seconds < SHOWN_AFTER_SECONDS:
            return None
        shown: dict[str, Any] = {"job": run.job_id, "queue_name": self.consumer.queue_name}
        shown |= {"worker": process.name, "pid": process.pid, "seconds": round(seconds, 3)}
        if progress is not None:
            shown |= {"progress": progress.fraction, "note": progress.note}
        return shown

    def vacate(self, *, lived_seconds: float) -> WorkerProcess:
        """Make the slot vacant, until the backoff allows another worker. Return the process."""
        assert self.process is not None
        process, self.process = self.process, None
        self.start_at = time.monotonic() + self.backoff.record(lived_seconds)
        return process

    # -- failed boots

    def note_boot(self, *, was_cut_off: bool) -> None:
        """Note, when a worker exits, whether it was up or failed to boot."""
        if self.row.phase != Phase.BOOTING:
            self.failed_boots, self.has_been_up = 0, True
        elif not was_cut_off:
            self.failed_boots += 1

    def has_final_boot_error(self) -> bool:
        """Return whether the worker failed to boot for a reason that any other would have too."""
        entries = self.row.batch.entries()
        return self.row.phase == Phase.BOOTING and any(entry.get("final") for entry in entries)

    def boot_error(self, cause: str) -> str:
        """Return in a sentence why the worker failed to boot."""
        reasons = [entry["boot"] for entry in self.row.batch.entries() if "boot" in entry]
        return str(reasons[-1]) if reasons else f"consumer {self.consumer.queue_name!r}: {cause}"

    def boot_failure(self, error: str) -> str:
        """Return in a sentence why another worker would fail to boot too."""
        if self.has_final_boot_error():
            return error
        count = self.failed_boots
        return f"{count} workers in a row exited before their first claim; the last: {error}"

    def lifetime(self, *, was_useful: bool) -> float:
        """Return how long the worker ran in seconds, for the backoff.

        It is infinite for a useful worker, so that there is no wait.
        """
        assert self.process is not None
        return math.inf if was_useful else time.monotonic() - self.process.ordered_at
