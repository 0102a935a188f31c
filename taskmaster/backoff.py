"""The backoff between restarts or connections. Pure policy, without a clock.

The backoff between the runs of a job is in settlement.py.
"""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The wait before the next restart or connection. It doubles with each failure in a row.

    It is shortened by up to the share `jitter`, so that many processes do not try together.
    """

    base_seconds: float = 0.1
    max_seconds: float = 30.0
    healthy_seconds: float = 10.0
    jitter: float = 0.0
    failures: int = 0

    def record(self, lived_seconds: float = 0.0) -> float:
        """Record a failure after `lived_seconds`. Return how many seconds to wait now.

        A process that lived for `healthy_seconds` ends the series, and there is no wait.
        """
        if lived_seconds >= self.healthy_seconds:
            self.failures = 0
            return 0.0
        self.failures = min(self.failures + 1, 16)  # bounded: a float overflows at 2**1024
        seconds = min(self.max_seconds, self.base_seconds * 2.0 ** (self.failures - 1))
        return seconds * random.uniform(1.0 - self.jitter, 1.0) if self.jitter else seconds

    def reset(self) -> None:
        """End the series of failures."""
        self.failures = 0
