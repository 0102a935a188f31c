"""The service that passes on what the workers print."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.service import BaseService

PAUSE_SECONDS = 0.05  # steps of the loop may be short, and a look at a pipe costs a microsecond


@dataclass(slots=True)
class OutputService(BaseService):
    """Looks at the pipes in each step of the loop, but not more often than 20 times a second.

    A pipe that was half full is emptied as soon as there is more in it.
    """

    generations: Generations
    looked_at: float = -math.inf
    look_at: float = math.inf

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
        now, next_at = time.monotonic(), self.looked_at + PAUSE_SECONDS
        if now < next_at:
            self.look_at = next_at
            return
        self.looked_at, self.look_at = now, math.inf
        for process in self.generations.processes():
            process.output.pass_on()
