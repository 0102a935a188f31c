"""The configuration at work, the one that is to follow it, and those whose last jobs still run."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from taskmaster.errors import TaskmasterError
from taskmaster.processes.ledger.ledger import Releases
from taskmaster.processes.pool.generation import Generation, working
from taskmaster.processes.shared.failures import describe

log = logging.getLogger("taskmaster.supervisor")


@dataclass(slots=True)
class Generations:
    """`make` reads the configuration anew; it raises TaskmasterError when that cannot be used."""

    current: Generation
    make: Callable[[], Generation]
    coming: Generation | None = None
    leaving: list[Generation] = field(default_factory=list)

    def __iter__(self) -> Iterator[Generation]:
        """All that have processes."""
        yield self.current
        if self.coming is not None:
            yield self.coming
        yield from self.leaving

    def reload(self) -> None:
        """Begin another generation; the one at work goes on until workers of the other are up."""
        self.drop_coming()
        try:
            self.coming = self.make()
        except Exception as error:  # noqa: BLE001 — whatever it is, it is no reason to end what is at work
            self.refuse(error)

    def refuse(self, error: Exception) -> None:
        self.drop_coming()
        what = str(error) if isinstance(error, TaskmasterError) else describe(error)
        log.error("not reloaded, the old configuration and code stay at work: %s", what)

    def blame(self, generation: Generation, error: TaskmasterError) -> None:
        """One of them cannot be used: the coming one is refused, for any other the error is raised."""
        if generation is not self.coming:
            raise error
        self.refuse(error)

    def drop_coming(self) -> None:
        if self.coming is not None:
            self.coming.close()
            self.coming = None

    def run_due(self, now: float, supervisor: int | None) -> Releases:
        """See to all of them; the jobs that their workers will not start."""
        released = self.take_over(now, supervisor) if self.coming is not None else []
        for generation in self:
            if generation is not self.coming:
                released += generation.run_due(now, supervisor, working(self.leaving))
        for generation in [gone for gone in self.leaving if gone.gone]:
            self.leaving.remove(generation)
            generation.close()
        return released

    def take_over(self, now: float, supervisor: int | None) -> Releases:
        """When new workers can work: the old ones leave after the job at hand, and new ones take their places."""
        assert self.coming is not None
        try:
            if supervisor is None or not self.coming.canary(now, supervisor):
                return []
        except Exception as error:  # noqa: BLE001 — as above: only the coming one is concerned
            self.refuse(error)
            return []
        old, self.current, self.coming = self.current, self.coming, None
        self.leaving.append(old)
        released = (
            old.leave()
        )  # first: what is put when this was said must not be claimed by the old ones
        self.current.reporter.take(old.reporter.given_up())
        log.info("reloaded: new workers run the new code, running jobs finish on the old")
        return released

    def leave(self) -> Releases:
        """All leave."""
        self.drop_coming()
        released = [released for generation in self for released in generation.leave()]
        if unsaid := [crash for generation in self for crash in generation.reporter.given_up()]:
            log.warning("%d crashes are not reported: the supervisor leaves", len(unsaid))
        return released
