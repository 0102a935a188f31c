"""The protocol of a service, which is one concern of the supervisor.

A new concern is one file and one entry in the list of services in main.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol


class Service(Protocol):
    """The methods that the loop calls. All times are seconds on the monotonic clock."""

    def run_due(self, now: float) -> None:
        """Do what is due."""

    def next_due(self) -> float:
        """Return when there is something to do, or `math.inf` if nothing is planned."""

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        """Return the descriptors to poll and their handlers. They may change at any time."""

    def close(self) -> None:
        """Stop for good, and free what the service holds."""


class BaseService:
    """A service that does nothing. Subclasses override what they need."""

    __slots__ = ()

    def run_due(self, now: float) -> None:
        """Do what is due."""

    def next_due(self) -> float:
        """Return when there is something to do, or `math.inf` if nothing is planned."""
        return math.inf

    def handlers(self) -> Mapping[int, Callable[[], None]]:
        """Return the descriptors to poll and their handlers."""
        return {}

    def close(self) -> None:
        """Free what the service holds."""


class ChildService(Service, Protocol):
    """A service with a child process that is neither a worker nor a template nor a reporter."""

    @property
    def pid(self) -> int | None:
        """The pid of the child, or None if it has none now."""

    def owns(self, pid: int) -> bool:
        """Return whether `pid` is this child, or a process that it left running on purpose."""

    def on_exit(self) -> None:
        """Reap the child, which has exited."""
