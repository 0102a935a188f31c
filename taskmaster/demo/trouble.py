"""What goes wrong on purpose: a worker is killed while it renders, and a rejected tile is put back."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

from taskmaster.admin import Admin
from taskmaster.demo.journal import Journal, Run
from taskmaster.errors import JobNotFound
from taskmaster.job import State

GIVEN_BACK_SECONDS = 5.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed, and the job that it was running."""

    pid: int
    job: int
    at: float


@dataclass(slots=True)
class Trouble:
    """Makes it, sees it mended, and remembers both."""

    admin: Admin
    journal: Journal
    queue_name: str
    kill: Kill | None = None
    given_back_after: float | None = None
    requeued: list[int] = field(default_factory=list)

    def kill_busy_worker(self) -> Kill | None:
        """SIGKILL a worker in the middle of a job; None: nobody is in the middle of one right now."""
        records = self.admin.find(queue_name=self.queue_name, state=State.RUNNING)
        recorded = {record.id for record in records}
        for run in list(self.journal.read().running.values()):
            if run.job in recorded and self._kill_in_the_act(run):
                self.given_back_after = self._await_given_back()
                return self.kill
        return None

    def _kill_in_the_act(self, run: Run) -> bool:
        """Stop it, see that the job has not ended meanwhile, and only then kill: the right job is named for certain."""
        try:
            os.kill(run.pid, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        busy = self.journal.read().running.get(run.pid) is run
        if busy:
            self.kill = Kill(run.pid, run.job, time.monotonic())
            del self.journal.running[run.pid]
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL if busy else signal.SIGCONT)
        return busy

    def _await_given_back(self) -> float | None:
        """Seconds until the job's record tells of the crash; None: it does not in time."""
        assert self.kill is not None
        while (passed := time.monotonic() - self.kill.at) < GIVEN_BACK_SECONDS:
            try:
                failures = self.admin.get(self.kill.job).failures
            except JobNotFound:  # run again and acked between two looks
                return passed
            if any(failure.cause == "signal SIGKILL" for failure in failures):
                return passed
            time.sleep(POLL_SECONDS)
        return None

    def requeue_rejected(self) -> list[int]:
        """Put back what was rejected; the ids."""
        rejected = [
            record.id
            for record in self.admin.find(queue_name=self.queue_name, state=State.REJECTED)
        ]
        done = self.admin.requeue(*rejected) if rejected else []
        self.requeued += done
        return done

    def seconds_to_run_again(self) -> float | None:
        """From the kill to the next beginning of the job; None: it has not begun again."""
        if self.kill is None:
            return None
        later = [
            run.began_at for run in self.journal.of(self.kill.job) if run.began_at > self.kill.at
        ]
        return min(later) - self.kill.at if later else None
