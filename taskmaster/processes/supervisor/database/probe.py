"""The listener's probe: when to send one, and when its silence means a lost connection.

Pure policy, without a clock or a database. A connection can be lost without being closed: the host
behind a proxy is gone, or the connection leads to a server that is no longer the primary.
"""

import math
from dataclasses import dataclass

# The loop takes a step at least every second. In a longer step it was waiting for the database.
LONGEST_STEP_SECONDS = 2.0


@dataclass(slots=True)
class Probe:
    """Sent every `every_seconds`, and received within `patience_seconds` if the connection lives.

    Only silence during which the loop was running counts.
    """

    every_seconds: float = 5.0
    patience_seconds: float = 3.0
    due_at: float = 0.0
    silent_at: float = math.inf  # infinite: no probe is awaited
    looked_at: float = math.inf

    def reset(self) -> None:
        """Await no probe any more, and send one at once."""
        self.due_at, self.silent_at = 0.0, math.inf

    def on_sent(self, now: float) -> None:
        """Await the probe that was sent just now."""
        self.due_at, self.silent_at = now + self.every_seconds, now + self.patience_seconds

    def on_received(self) -> None:
        """Await no probe any more."""
        self.silent_at = math.inf

    def look(self, now: float) -> None:
        """Note that the loop is running, and do not count the time in which it was not."""
        if now - self.looked_at > LONGEST_STEP_SECONDS:
            self.silent_at += now - self.looked_at
        self.looked_at = now

    def is_overdue(self, now: float) -> bool:
        """Return whether the awaited probe should have arrived."""
        return now >= self.silent_at

    def next_due(self) -> float:
        """Return when to send the next probe, or to look whether the last one has arrived."""
        return min(self.due_at, self.silent_at)
