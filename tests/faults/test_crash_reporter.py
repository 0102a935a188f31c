"""The process that reports crashes to middlewares. Its own crash is logged."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster import Publisher
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project

REPORT_AND_WAIT = """
from taskmaster.middleware import define_middleware
from tests.support.journal import note, wait_at

def report_crashes():
    def report(crash):
        note("reported", id=crash.job)
        wait_at()
    return report

@define_middleware(report_crashes=report_crashes)
def wait_in_reports():
    return lambda handler: handler
"""


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project whose crashes are reported to a middleware that waits at the gate."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.write_version("old", REPORT_AND_WAIT)
        one.configure({"middleware": ["jobs:wait_in_reports"], "max_crashes": 1})
        yield one


def test_killed_crash_reporter_is_logged_and_replaced(
    here: Project, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    here.start()
    publisher.put("q", {"do": "crash"})
    eventually(lambda: journal.lines("reported"))
    (reporter,) = here.pids_by_title("taskmaster reporter")
    os.kill(reporter, signal.SIGKILL)
    eventually(lambda: "crash reporter failed: crashes=1 cause='signal SIGKILL'" in here.output())
    gates.open()
    later = publisher.put("q", {"do": "crash"})
    eventually(lambda: journal.lines("reported")[-1]["id"] == later)
    assert here.stop() == 0
    assert here.output().count("crash reporter failed") == 1
