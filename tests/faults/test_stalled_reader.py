"""A reader of the supervisor's output that stops: a pager, Ctrl-S, a log driver on a full disk."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from taskmaster import Admin, Publisher, State
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project

NOISE = """
import logging, os
from taskmaster import Reject

def loud(job):
    print("x" * 300_000)
    return act_as_told(job)

def logs(job):
    if job.payload == "closing":
        os.closerange(3, 1000)
        fds = [os.open(f"user.{number}", os.O_CREAT | os.O_WRONLY) for number in range(30)]
    logging.getLogger("users").warning("logged by %d", job.id)
    return Reject("as asked")
"""
Ends = Callable[[], tuple[int, int]]


@pytest.fixture
def noisy(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.write_version("old", NOISE)
        one.configure({"callback": "jobs:loud"}, grace_seconds=1)
        yield one


def ends_of_a_pipe() -> tuple[int, int]:
    return os.pipe()


def ends_of_a_socket() -> tuple[int, int]:
    """Return both ends, as systemd uses them."""
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("ends", [ends_of_a_pipe, ends_of_a_socket])
def test_stalled_log_reader_blocks_neither_jobs_nor_the_stop(
    noisy: Project,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
    ends: Ends,
) -> None:
    read_end, write_end = ends()
    noisy.start(ready=False, stdout=write_end, stderr=write_end)
    os.close(write_end)
    publisher.put("q", {})
    # The output of the job leaves no room for a line of the log.
    eventually(lambda: len(journal.finished()) == 1)
    held = publisher.put("q", {"do": "hold"})
    eventually(lambda: len(journal.runs_of(held)) == 1)
    os.kill(noisy.workers()[0], signal.SIGKILL)
    eventually(lambda: len(journal.runs_of(held)) == 2)
    noisy.hup()
    gates.open()
    eventually(lambda: admin.find() == [])
    since = last_heartbeat(conn)
    eventually(lambda: last_heartbeat(conn) > since)
    assert noisy.stop() == 0
    os.close(read_end)


@pytest.mark.parametrize("ends", [ends_of_a_pipe, ends_of_a_socket])
def test_log_lines_of_a_callback_are_recorded_and_leak_nowhere(
    noisy: Project, publisher: Publisher, admin: Admin, ends: Ends
) -> None:
    noisy.configure({"callback": "jobs:logs", "batch": 1, "max_runs": 1})
    read_end, write_end = ends()
    noisy.start(ready=False, stdout=write_end, stderr=write_end)
    os.close(write_end)
    for payload in ("plain", "closing"):
        job_id = publisher.put("q", payload)
        eventually(partial(is_rejected, admin, job_id))
        assert f"logged by {job_id}" in admin.get(job_id).failures[0].stderr
    assert {file.stat().st_size for file in noisy.directory.glob("user.*")} == {0}
    assert noisy.stop() == 0
    os.close(read_end)


def is_rejected(admin: Admin, job_id: int) -> bool:
    return admin.get(job_id).state == State.REJECTED


def last_heartbeat(conn: Connection) -> datetime:
    """Return the time of the last heartbeat."""
    row = conn.execute("select heartbeat_at from supervisors").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found
