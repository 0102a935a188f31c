"""Callbacks and middlewares with mistakes that taskmaster names."""

from collections.abc import Iterator
from typing import Any

from taskmaster import Handler, Job


def take_no_job() -> None:
    """Take no job, so it cannot be a callback."""


def generate(job: Job) -> Iterator[None]:
    """Yield, so the body would never run."""
    yield


def component_for(place: str) -> Iterator[None]:
    """Need an argument, so it cannot be a component."""
    raise AssertionError(place)


def generate_component() -> Iterator[None]:
    """Lack @contextmanager."""
    yield


def make_no_component() -> int:
    """Return no context manager."""
    return 3


def return_nothing(handler: Handler) -> Handler:
    """Make a middleware that forgets to return the outcome of the handler."""

    def handle(job: Job) -> Any:
        handler(job)

    return handle
