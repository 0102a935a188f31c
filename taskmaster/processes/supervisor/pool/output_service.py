"""The service that passes on what the workers print."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskmaster.processes.supervisor.pool.kept_output import backlog_of
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import BaseService

PAUSE_SECONDS = 0.05  # steps of the loop may be short, and a look at a pipe costs a microsecond
PENDING_SECONDS = 0.02  # between two looks while the reader has not taken everything
SLOW_SECONDS = 0.1  # a reader that takes nothing for so long is not waited for at the end
END_SECONDS = 0.5


@dataclass(slots=True)
class OutputService(BaseService):
    """Looks at the pipes in each step of the loop, but not more often than 20 times a second.

    A pipe that was half full is emptied as soon as there is more in it.
    """

    generations: Generations
    looked_at: float = -math.inf
    look_at: float = math.inf
    pause_seconds: float = PAUSE_SECONDS

    def run_due(self, now: float) -> None:
        """Pass on what is new, as far as the readers take it now."""
        self.pass_on()

    def next_due(self) -> float:
        return self.look_at

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        pipes: dict[int, Callable[[], None]] = {}
        for process in self.generations.processes():
            pipes |= process.output.handlers()
        return pipes

    def pass_on(self) -> None:
        """Pass on what is new, or plan it if the last look was a moment ago."""
        now, next_at = time.monotonic(), self.looked_at + self.pause_seconds
        if now < next_at:
            self.look_at = next_at
            return
        self.looked_at = now
        is_pending = _pass_on_backlogs()
        for process in self.generations.processes():
            process.output.pass_on()
            is_pending = is_pending or process.output.has_pending
        self.pause_seconds = PENDING_SECONDS if is_pending else PAUSE_SECONDS
        self.look_at = now + PENDING_SECONDS if is_pending else math.inf

    def close(self) -> None:
        """Wait a moment for a slow reader to take what the workers have left."""
        deadline = time.monotonic() + END_SECONDS
        give_up_at = time.monotonic() + SLOW_SECONDS
        left = _left()
        while left and time.monotonic() < min(deadline, give_up_at):
            _pass_on_backlogs()
            if (now_left := _left()) < left:
                left, give_up_at = now_left, time.monotonic() + SLOW_SECONDS
            time.sleep(PENDING_SECONDS)


def _pass_on_backlogs() -> bool:
    """Pass on what workers that have exited left. Return whether something is still pending."""
    backlogs = [backlog_of(number) for number in (1, 2)]
    for backlog in backlogs:
        backlog.pass_on()
    return any(backlog.has_pending for backlog in backlogs)


def _left() -> int:
    """Return how many bytes no reader has taken yet."""
    return sum(backlog_of(number).left for number in (1, 2))
