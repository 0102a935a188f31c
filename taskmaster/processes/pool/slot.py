"""A slot and whoever works in it: waking, stopping, limits, and taking back what has not started."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from taskmaster.consumer import Consumer
from taskmaster.processes.pool.worker_process import WorkerProcess, kill_group
from taskmaster.processes.shared import limits, permits
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.scoreboard import (
    BEGAN_AT,
    COUNT,
    LEAVING,
    PHASE,
    STARTED,
    STARTED_AT,
    STOP,
    WOKEN,
    ScoreboardRow,
)

log = logging.getLogger("taskmaster.supervisor")

SHOWN_AFTER_SECONDS = 1.0


@dataclass(slots=True)
class WorkerSlot:
    """One place of a crew. `life` None: vacant until `start_at`."""

    index: int
    consumer_index: int
    consumer: Consumer
    row: ScoreboardRow
    backoff: Backoff
    process: WorkerProcess | None = None
    start_at: float = 0.0
    failed_boots: int = 0
    proven: bool = False  # a worker that is dead by now has booted here

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.pid is not None

    @property
    def busy(self) -> bool:
        """Does it run something, or is it about to look?"""
        return self.alive and not (self.row.idle and not self.row.cells[WOKEN])

    @property
    def watched(self) -> bool:
        """May a job run here that has limits?"""
        return self.consumer.has_limits and self.busy

    def wake(self) -> bool:
        """Tell the worker to look. Told already and not yet looked: nothing to do."""
        if (
            self.process is None
            or self.process.parked
            or not self.row.booted
            or self.row.cells[WOKEN]
        ):
            return False
        self.row.cells[WOKEN] = 1
        self.process.wakeups.put()
        return True

    def begin(self) -> None:
        """Have a worker that waits begin."""
        assert self.process is not None
        self.process.parked = False
        self.wake()

    def stop(self) -> None:
        """Have the worker leave after the job at hand."""
        self.row.cells[STOP] = 1
        if self.process is not None:
            self.process.wakeups.put()

    def take_back(self) -> tuple[UUID, Sequence[int]] | None:
        """Keep the worker from starting the rest of its batch: the token, and the jobs that it will not start."""
        if self.process is None:
            return None
        token, ids = before = self.row.batch()
        drained = permits.drain(self.process.permits_fd)
        # Another batch meanwhile: its worker finds no permits, and gives back the rest of it by itself.
        unchanged = before == self.row.batch() and drained <= len(ids)
        return (token, ids[len(ids) - drained :]) if drained and unchanged else None

    def enforce_limits(self, now: float) -> None:
        """Kill the worker when its job exceeds a limit."""
        if self.process is None or self.process.pid is None or not self.watched:
            return
        if self.process.condemned is None:
            excess = limits.excess(self.consumer, self.process.pid, self.row)
            if excess is not None:
                self.process.condemn(excess)
        elif self.row.run() != (self.process.condemned.job, self.process.condemned.began_ns):
            self.process.spare()
        elif self.process.is_due(now):
            kill_group(self.process.pid)

    def see_off(self, now: float, within_seconds: float) -> None:
        """Kill a worker that has done its work and does not end: its component or a middleware hangs in its exit."""
        if self.process is None or self.process.pid is None or self.row.cells[PHASE] != LEAVING:
            return
        if self.process.leave_by is None:
            self.process.leave_by = now + within_seconds
        elif now >= self.process.leave_by:
            self.process.leave_by = math.inf
            log.warning(
                "worker %s has not left within %g s after its work: the exit of its component or of a middleware hangs",
                self.process.name, within_seconds,
            )  # fmt: skip
            self.process.kill()

    def running(self) -> dict[str, Any] | None:
        """The job that runs here, when it has done so for a second or says how far it is."""
        job, process = self.row.running(), self.process
        if job is None or process is None:
            return None
        seconds = (time.monotonic_ns() - self.row.cells[STARTED_AT]) / 1e9
        progress = self.row.progress()
        if progress is None and seconds < SHOWN_AFTER_SECONDS:
            return None
        shown = {
            "job": job,
            "queue_name": self.consumer.queue_name,
            "worker": process.name,
            "pid": process.pid,
        }
        said = {} if progress is None else {"progress": progress.fraction, "note": progress.note}
        return {**shown, "seconds": round(seconds, 3), **said}

    def slow_since(self, seconds: float) -> bool:
        """Has the batch run for so long while jobs of it wait? It was meant to take 20 ms."""
        return (
            self.waiting_behind > 0
            and time.monotonic_ns() - self.row.cells[BEGAN_AT] > seconds * 1e9
        )

    @property
    def waiting_behind(self) -> int:
        """Jobs of the batch that have not been started."""
        return self.row.cells[COUNT] - self.row.cells[STARTED]
