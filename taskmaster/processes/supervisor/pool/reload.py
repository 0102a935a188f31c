"""The generations of the supervisor, and the reload from one to the next.

A new generation takes over once a canary of each consumer is up. The old one then finishes its
running jobs.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from taskmaster.errors import TaskmasterError
from taskmaster.failure import describe
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.pool.generation import Generation
from taskmaster.processes.supervisor.pool.spawner import workers_by_queue
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.supervisor.service import BaseService

log = logging.getLogger("taskmaster.supervisor")

SETTLE_SECONDS = 1.0  # between two reloads
READ_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Generations(BaseService):
    """All generations of a supervisor, as one service.

    `coming` is being tried, and `leaving` still finish jobs. `make` reads the configuration again
    and returns a generation, or None as long as it is still reading. It raises TaskmasterError if
    the configuration cannot be used.
    """

    current: Generation
    make: Callable[[], Generation | None]
    session: DatabaseSession
    coming: Generation | None = None
    leaving: list[Generation] = field(default_factory=list)
    reload_at: float = math.inf
    reloaded_at: float = -math.inf
    is_reading: bool = False

    def __iter__(self) -> Iterator[Generation]:
        """Yield all generations that have processes."""
        yield self.current
        if self.coming is not None:
            yield self.coming
        yield from self.leaving

    @property
    def failure(self) -> str | None:
        """The reason in a sentence if the workers cannot work, else None.

        A coming generation does not count: it is refused instead.
        """
        working = (self.current, *self.leaving)
        return next((one.pool.failure for one in working if one.pool.failure is not None), None)

    def processes(self) -> Iterator[WorkerProcess]:
        """Return the workers of all generations that are ordered or running."""
        for generation in self:
            yield from generation.pool.processes()

    # -- the service

    def run_due(self, now: float) -> None:
        """Run all generations. Raises InvalidConfig and WorkersFailed."""
        supervisor_id = self.session.supervisor_id
        if now >= self.reload_at and not self.is_reading:
            self._begin_reload(now)
        if self.is_reading:
            self._take_configuration()
        if self.coming is not None and supervisor_id is not None:
            self._try_take_over(self.coming, now, supervisor_id)
        for generation in (self.current, *self.leaving):
            generation.run_due(now, supervisor_id, _workers_of(self.leaving))
        for generation in [gone for gone in self.leaving if gone.is_gone]:
            self.leaving.remove(generation)
            generation.close()

    def next_due(self) -> float:
        now, is_registered = time.monotonic(), self.session.supervisor_id is not None
        # A coming generation is looked after once this supervisor is registered.
        due = [one for one in self if is_registered or one is not self.coming]
        first = min(one.next_due(now, is_registered=is_registered) for one in due)
        return min(first, now + READ_LOOK_SECONDS if self.is_reading else self.reload_at)

    def close(self) -> None:
        self.drop_coming()
        for generation in self:
            generation.close()

    # -- the reload

    def reload(self) -> None:
        """Start another generation soon. The current one continues until the new one takes over.

        Further requests within a second are one: signals may come in storms.
        """
        if math.isinf(self.reload_at):
            self.reload_at = max(time.monotonic(), self.reloaded_at + SETTLE_SECONDS)

    def blame(self, generation: Generation, error: TaskmasterError) -> None:
        """Refuse the coming generation if the error is its own. Otherwise raise the error."""
        if generation is not self.coming:
            raise error
        self._refuse_coming(error)

    def drop_coming(self) -> None:
        """Close the coming generation, if there is one."""
        if self.coming is not None:
            self.coming.close()
            self.coming = None

    # -- stopping

    def stop(self) -> None:
        """Ask all workers to exit after their current jobs."""
        self.drop_coming()
        self.reload_at, self.is_reading = math.inf, False
        for generation in self:
            generation.stop()

    def kill_all(self) -> int:
        """Kill all workers without charging their jobs. Return how many were not killed before."""
        return sum(generation.kill() for generation in self)

    # -- details

    def _begin_reload(self, now: float) -> None:
        log.info("reload started: SIGHUP received")
        self.drop_coming()
        self.reloaded_at, self.reload_at = now, math.inf
        self.is_reading = True

    def _take_configuration(self) -> None:
        """Make the coming generation if the configuration has been read."""
        try:
            self.coming = self.make()
        except Exception as error:  # noqa: BLE001 — it must not end the current generation
            self.is_reading = False
            self._refuse_coming(error)
        else:
            self.is_reading = self.coming is None

    def _try_take_over(self, coming: Generation, now: float, supervisor_id: int) -> None:
        """Let the coming generation take over if its canaries are up."""
        try:
            is_up = coming.try_out(now, supervisor_id)
        except Exception as error:  # noqa: BLE001 — it must not end the current generation
            self._refuse_coming(error)
            return
        if not is_up:
            return
        old, self.current, self.coming = self.current, coming, None
        self.leaving.append(old)
        # Stop it before the log line: jobs put after that line must not be claimed by old workers.
        old.stop()
        log.info("reloaded: new workers run the new code, running jobs finish on the old")

    def _refuse_coming(self, error: Exception) -> None:
        self.drop_coming()
        what = str(error) if isinstance(error, TaskmasterError) else describe(error)
        log.error("reload failed, keeping the current configuration: %s", what)


def _workers_of(generations: Sequence[Generation]) -> Counter[str]:
    """Return how many workers of each queue these generations have."""
    total: Counter[str] = Counter()
    for generation in generations:
        total += workers_by_queue(generation.pool)
    return total
