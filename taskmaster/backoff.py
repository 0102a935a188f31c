"""The backoff between restarts or connections. Pure policy, without a clock.

The backoff between the runs of a job is in settlement.py.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The wait before the next restart or connection. It doubles with each failure in a row."""

    base_seconds: float = 0.1
    max_seconds: float = 30.0
    healthy_seconds: float = 10.0
    failures: int = 0

    def record(self, lived_seconds: float = 0.0) -> float:
        """Record a failure after `lived_seconds`. Return how many seconds to wait now.

        A process that lived for `healthy_seconds` ends the series, and there is no wait.
        """
        if lived_seconds >= self.healthy_seconds:
            self.failures = 0
            return 0.0
        self.failures = min(self.failures + 1, 16)  # bounded: a float overflows at 2**1024
        return min(self.max_seconds, self.base_seconds * 2.0 ** (self.failures - 1))

    def reset(self) -> None:
        """End the series of failures."""
        self.failures = 0
