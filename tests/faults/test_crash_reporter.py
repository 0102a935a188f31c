"""The process that tells middlewares of crashes: when it dies itself, somebody must hear of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster import Publisher
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project

TELLS_AT_THE_GATE = """
from taskmaster.middleware import define_middleware
from tests.support.journal import note, wait_at

def report_crashes():
    def report(crash):
        note("reported", id=crash.job)
        wait_at()
    return report

@define_middleware(report_crashes=report_crashes)
def told_of_crashes():
    return lambda handler: handler
"""


@pytest.fixture
def told(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project whose crashes are reported to a middleware that takes its time."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.version("old", TELLS_AT_THE_GATE)
        one.configure({"middleware": ["jobs:told_of_crashes"], "max_crashes": 1})
        yield one


def test_killed_crash_reporter_is_logged_and_replaced(
    told: Project, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    told.start()
    publisher.put("q", {"do": "die"})
    eventually(lambda: journal.lines("reported"))
    (reporter,) = told.titled("taskmaster reporter")
    os.kill(reporter, signal.SIGKILL)
    eventually(lambda: "crash reporter failed: crashes=1 cause='signal SIGKILL'" in told.said())
    gates.open()
    later = publisher.put("q", {"do": "die"})
    eventually(lambda: journal.lines("reported")[-1]["id"] == later)
    assert told.stop() == 0
    assert told.said().count("crash reporter failed") == 1
