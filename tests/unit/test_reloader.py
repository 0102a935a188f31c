"""Reading the configuration for a reload, with a file system that stalls."""

import threading

import pytest

from taskmaster import Consumer, InvalidConfig, Supervisor
from taskmaster.cli.reload import Reloader

SUPERVISOR = Supervisor("postgresql://", [Consumer("q", callback="jobs:act")])


def test_configuration_is_returned_at_once_if_it_can_be_read() -> None:
    reloader = Reloader(lambda: SUPERVISOR)
    assert [reloader(), reloader()] == [SUPERVISOR, SUPERVISOR]


def test_mistake_in_the_configuration_is_raised() -> None:
    def read() -> Supervisor:
        raise InvalidConfig("a mistake")

    reloader = Reloader(read)
    for _ in range(2):
        with pytest.raises(InvalidConfig, match="a mistake"):
            reloader()


def test_reading_that_hangs_is_given_up_and_never_used() -> None:
    responds, outcomes = threading.Event(), [SUPERVISOR, None]

    def read() -> Supervisor:
        responds.wait(10)
        found = outcomes.pop()
        assert found is not None
        return found

    reloader = Reloader(read, within_seconds=0.0)
    for _ in range(2):
        with pytest.raises(InvalidConfig, match="not read within 0 s"):
            reloader()
    responds.set()
    for thread in threading.enumerate():
        if thread.name == "configuration":
            thread.join(10)
    assert reloader() is SUPERVISOR
