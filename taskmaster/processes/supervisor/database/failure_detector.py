"""The failure detector: which supervisors have sent no heartbeat for too long. Pure policy.

Only silence observed while connected counts, measured by this supervisor's own clock. If this
supervisor was itself disconnected or stopped, it missed everyone's heartbeats, so it restarts the
clock. The clocks of two hosts are never compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from taskmaster.store.supervisors import SilentSupervisor

# A longer gap between two of its own heartbeats means that this supervisor was disconnected.
DISCONNECTED_HEARTBEATS = 3
# After this many times `gone_after_seconds`, a session lock no longer shows that a supervisor is
# alive, because a stopped process holds its lock too.
GIVEN_UP_FACTOR = 4


class LastHeartbeat(NamedTuple):
    """The last heartbeat of one supervisor, and when this supervisor first observed it."""

    heartbeat_at: datetime
    since: float


@dataclass(slots=True)
class FailureDetector:
    """Remembers the last heartbeat of each other supervisor."""

    heartbeat_seconds: float
    gone_after_seconds: float
    last: dict[int, LastHeartbeat] = field(default_factory=dict)
    observed_at: float = 0.0

    def forget(self) -> None:
        """Restart the clock: heartbeats may have been missed."""
        self.last = {}

    def observe(self, others: Mapping[int, datetime], now: float) -> None:
        """Note the last heartbeats of the other supervisors, by id."""
        if now - self.observed_at > DISCONNECTED_HEARTBEATS * self.heartbeat_seconds:
            self.forget()
        self.observed_at = now
        self.last = {id: self._entry(id, at, now) for id, at in others.items()}

    def suspects(self, now: float) -> list[SilentSupervisor]:
        """Return the supervisors that have been silent for `gone_after_seconds`, lowest id first.

        Two heartbeat intervals are subtracted: a heartbeat is observed up to one interval late, and
        this supervisor looks once per interval.
        """
        patience = self.gone_after_seconds - 2 * self.heartbeat_seconds
        given_up = GIVEN_UP_FACTOR * self.gone_after_seconds
        return [
            SilentSupervisor(id, last.heartbeat_at, now - last.since >= given_up)
            for id, last in sorted(self.last.items())
            if now - last.since >= patience
        ]

    def _entry(self, id: int, heartbeat_at: datetime, now: float) -> LastHeartbeat:
        known = self.last.get(id)
        if known is not None and known.heartbeat_at == heartbeat_at:
            return known
        return LastHeartbeat(heartbeat_at, now)
