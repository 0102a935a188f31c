"""The troubles: what the database keeps refusing, for the log, for /readyz, and for the waits."""

import logging
import time
from dataclasses import dataclass, field

from taskmaster.backoff import Backoff

log = logging.getLogger("taskmaster.supervisor")

LONG_LOCK_SECONDS = 5.0


@dataclass(slots=True)
class Trouble:
    """One thing that the database refuses, and why. `is_lock`: it only waits for a lock."""

    why: str
    is_lock: bool = False
    began_at: float = field(default_factory=time.monotonic)
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.2, max_seconds=5.0))


@dataclass(slots=True)
class Troubles:
    """The present troubles by what is refused. Each is logged when it begins, changes and ends."""

    by_subject: dict[str, Trouble] = field(default_factory=dict)
    long_lock_seconds: float = LONG_LOCK_SECONDS

    def record(self, subject: str, why: str) -> float:
        """Note that the database refused `subject`. Return how many seconds to wait now."""
        trouble = self.by_subject.get(subject)
        if trouble is None or trouble.why != why:
            log.error("database refused %s, retrying: %s", subject, why)
            trouble = self.by_subject[subject] = Trouble(why)
        return trouble.backoff.record()

    def record_lock(self, subject: str, why: str) -> None:
        """Note that `subject` waits for a lock."""
        trouble = self.by_subject.get(subject)
        if trouble is None or not trouble.is_lock:
            log.warning("database blocked, waiting for a lock: %s: %s", subject, why)
            self.by_subject[subject] = Trouble(f"it waits for a lock, {why}", is_lock=True)

    def end(self, subject: str) -> None:
        """Note that the database no longer refuses it."""
        if self.by_subject and self.by_subject.pop(subject, None) is not None:
            log.info("database works again: %s", subject)

    def sentences(self) -> list[str]:
        """Return one sentence for each trouble. A lock is one if it has lasted for a while."""
        latest = time.monotonic() - self.long_lock_seconds
        return [
            f"{subject}: {trouble.why}"
            for subject, trouble in self.by_subject.items()
            if not trouble.is_lock or trouble.began_at <= latest
        ]
