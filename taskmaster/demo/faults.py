"""The faults of the demo: it kills a worker that renders, and requeues a rejected tile."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

from taskmaster.admin import Admin
from taskmaster.demo.journal import Journal, Run
from taskmaster.errors import JobNotFound
from taskmaster.job import State

SETTLE_SECONDS = 5.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Kill:
    """A killed worker, and the job that it was running."""

    pid: int
    job: int
    at: float


@dataclass(slots=True)
class Faults:
    """The faults so far, and how long taskmaster took to handle them."""

    admin: Admin
    journal: Journal
    queue_name: str
    kill: Kill | None = None
    settled_after: float | None = None
    requeued: list[int] = field(default_factory=list)

    def kill_busy_worker(self) -> Kill | None:
        """SIGKILL a worker in the middle of a job. Return None if no worker is running one now."""
        records = self.admin.find(queue_name=self.queue_name, state=State.RUNNING)
        leased = {record.id for record in records}
        for run in list(self.journal.read().running.values()):
            if run.job in leased and self._kill_during(run):
                self.settled_after = self._wait_for_settle()
                return self.kill
        return None

    def _kill_during(self, run: Run) -> bool:
        """Stop the worker, and kill it only if the run has not ended.

        So the killed job is known for certain.
        """
        try:
            os.kill(run.pid, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        is_busy = self.journal.read().running.get(run.pid) is run
        if is_busy:
            self.kill = Kill(run.pid, run.job, time.monotonic())
            del self.journal.running[run.pid]
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL if is_busy else signal.SIGCONT)
        return is_busy

    def _wait_for_settle(self) -> float | None:
        """Return the seconds until the crash is in the job's history, or None if it takes long."""
        assert self.kill is not None
        while (passed := time.monotonic() - self.kill.at) < SETTLE_SECONDS:
            try:
                failures = self.admin.get(self.kill.job).failures
            except JobNotFound:  # it ran again and was acked between two polls
                return passed
            if any(failure.cause == "signal SIGKILL" for failure in failures):
                return passed
            time.sleep(POLL_SECONDS)
        return None

    def requeue(self) -> list[int]:
        """Requeue the rejected jobs, and return their ids."""
        records = self.admin.find(queue_name=self.queue_name, state=State.REJECTED)
        ids = [record.id for record in records]
        done = self.admin.requeue(*ids) if ids else []
        self.requeued += done
        return done

    def seconds_to_run_again(self) -> float | None:
        """Return the seconds from the kill to the next run of the job, or None without one."""
        if self.kill is None:
            return None
        later = [
            run.began_at for run in self.journal.of(self.kill.job) if run.began_at > self.kill.at
        ]
        return min(later) - self.kill.at if later else None
