"""How long other supervisors have been silent, by our own clock, while we were listening. Pure policy.

Whoever was away himself (his connection lost, his process stopped, the whole cluster failed over) has heard nothing
from anybody, and begins to count anew: silence that he did not listen to proves nothing. No clocks are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from taskmaster.store.supervisors import SilentSupervisor

AWAY_HEARTBEATS = 3  # between two of our own, and we were away
GIVEN_UP = 4  # so many times `gone_after`: then a session lock counts no more, for a stopped process holds it too


class LastHeartbeat(NamedTuple):
    """The last heartbeat of one supervisor, and since when we have heard no other."""

    heartbeat_at: datetime
    since: float


@dataclass(slots=True)
class FailureDetector:
    """What one supervisor knows of the others."""

    heartbeat_seconds: float
    gone_after_seconds: float
    heard: dict[int, LastHeartbeat] = field(default_factory=dict)
    listened_at: float = 0.0

    def forget(self) -> None:
        """We were away."""
        self.heard = {}

    def listen(self, others: Mapping[int, datetime], now: float) -> None:
        """Note the last heartbeats of the others."""
        if now - self.listened_at > AWAY_HEARTBEATS * self.heartbeat_seconds:
            self.forget()
        self.listened_at = now
        known = self.heard
        self.heard = {
            id: known[id]
            if id in known and known[id].heartbeat_at == at
            else LastHeartbeat(at, now)
            for id, at in others.items()
        }

    def silent(self, now: float) -> list[SilentSupervisor]:
        """Those that have been silent for so long that, with the heartbeats between, it is `gone_after_seconds`."""
        patience = self.gone_after_seconds - 2 * self.heartbeat_seconds
        given_up = GIVEN_UP * self.gone_after_seconds
        return [
            SilentSupervisor(id, heard.heartbeat_at, now - heard.since >= given_up)
            for id, heard in sorted(self.heard.items())
            if now - heard.since >= patience
        ]
