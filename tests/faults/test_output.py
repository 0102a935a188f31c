"""Output of workers: nothing of it is lost, torn or put on the record of another run."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster import Admin, Publisher, State
from taskmaster.processes.ipc.output import TAIL_BYTES, StreamRecord, create_pipe
from taskmaster.processes.ipc.scoreboard import Scoreboard
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project

JOBS = """
import ctypes, io, json, os, subprocess, sys
from taskmaster import Reject

def reopens(job):
    print("before")
    subprocess.run(["sh", "-c", "echo from the child > /dev/stdout; echo to stderr > /dev/stderr"])
    print("after")
    return Reject("as asked")

def large(job):
    sys.stdout.write("x" * 3_000_000 + "\\n")
    return Reject("as asked")

def lines(job):
    for number in range(2_000):
        print(json.dumps({"job": job.id, "number": number, "text": "x" * 700}))

def prompt(job):
    print("no end", end="", flush=True)
    return act_as_told(job)

def crashes(job):
    for number in range(20_000):
        print(f"line {number} " + "x" * 80)
    os.kill(os.getpid(), 9)

def replaces(job):
    print("said by", job.id)
    if job.payload == "close":
        sys.stdout.close()
    elif job.payload == "replace":
        sys.stdout = io.StringIO()
    return Reject("as asked")

def prints_in_c(job):
    ctypes.CDLL(None).puts(b"said in C")
    return Reject("as asked") if job.payload else None

def nonblocking(job):
    before = os.get_blocking(1)
    os.set_blocking(1, False)
    return Reject(str(before))
"""


@pytest.fixture
def printer(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project whose supervisor writes into a file, as `> log 2>&1` does."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.write_version("old", JOBS)
        yield one


def test_child_that_reopens_the_streams_loses_nothing(
    printer: Project, publisher: Publisher, admin: Admin
) -> None:
    printer.configure({"callback": "jobs:reopens", "batch": 1})
    printer.start()
    job_id = publisher.put("q")
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    assert failure.stdout == "before\nfrom the child\nafter\n"
    assert failure.stderr == "to stderr\n"
    words = ("before", "from the child", "to stderr", "after")
    eventually(lambda: all(f"{word}\n" in printer.output() for word in words))


def test_output_larger_than_the_pipe_comes_out(
    printer: Project, publisher: Publisher, admin: Admin
) -> None:
    printer.configure({"callback": "jobs:large"})
    printer.start()
    job_id = publisher.put("q")
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert admin.get(job_id).failures[0].stdout == "x" * (TAIL_BYTES - 1) + "\n"
    eventually(lambda: printer.output().count("x") >= 3_000_000)


def test_lines_of_two_workers_never_mix(printer: Project, publisher: Publisher) -> None:
    printer.configure({"callback": "jobs:lines", "concurrency": 2, "batch": 1})
    printer.start()
    jobs = publisher.put_many("q", range(10))

    def json_lines() -> list[str]:
        return [line for line in printer.output().splitlines() if '"text"' in line]

    lines = eventually(lambda: (found := json_lines())[19_999:] and found)
    assert Counter(json.loads(line)["job"] for line in lines) == dict.fromkeys(jobs, 2_000)


def test_all_output_of_a_killed_worker_reaches_a_slow_reader(
    printer: Project, publisher: Publisher, admin: Admin
) -> None:
    printer.configure({"callback": "jobs:crashes", "max_crashes": 1})
    reader, writer = os.pipe()
    printer.start(stdout=writer)
    os.close(writer)
    job_id = publisher.put("q")
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert admin.get(job_id).failures[0].stdout.endswith("line 19999 " + "x" * 80 + "\n")
    with os.fdopen(reader) as lines:
        for number in range(20_000):
            assert next(lines) == f"line {number} " + "x" * 80 + "\n"


@pytest.mark.parametrize("batch", [1, 3])
def test_job_after_one_that_closed_its_output_can_print(
    printer: Project, publisher: Publisher, admin: Admin, batch: int
) -> None:
    printer.configure({"callback": "jobs:replaces", "batch": batch, "max_runs": 1})
    printer.start()
    jobs = publisher.put_many("q", ["close", "replace", None])
    eventually(lambda: admin.get(jobs[2]).state == State.REJECTED)
    for job_id in (jobs[1], jobs[2]):
        (failure,) = admin.get(job_id).failures
        assert failure.message == "as asked"
    assert admin.get(jobs[2]).failures[0].stdout == f"said by {jobs[2]}\n"


def test_output_of_c_code_is_on_the_record_of_its_run(
    printer: Project, publisher: Publisher, admin: Admin
) -> None:
    printer.configure({"callback": "jobs:prints_in_c", "batch": 1})
    printer.start()
    job_id = publisher.put("q", 1)
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert admin.get(job_id).failures[0].stdout == "said in C\n"
    publisher.put("q", 0)
    eventually(lambda: printer.output().count("said in C") == 2)
    assert printer.stop() == 0


def test_line_without_an_end_is_shown_while_the_job_runs(
    printer: Project, publisher: Publisher, gates: Gates
) -> None:
    printer.configure({"callback": "jobs:prompt"})
    printer.start()
    publisher.put("q", {"do": "hold"})
    eventually(lambda: "no end" in printer.output())
    gates.open()


def test_next_job_finds_a_blocking_pipe_again(
    printer: Project, publisher: Publisher, admin: Admin
) -> None:
    printer.configure({"callback": "jobs:nonblocking", "batch": 1})
    printer.start()
    first, second = publisher.put_many("q", range(2))
    eventually(lambda: admin.get(second).state == State.REJECTED)
    assert [admin.get(job).failures[0].message for job in (first, second)] == ["True", "True"]


# -- one stream


@pytest.fixture
def record() -> Iterator[StreamRecord]:
    scoreboard = Scoreboard(1)
    yield scoreboard.row(0).stdout
    os.close(scoreboard.fd)


def test_length_and_tail_count_what_the_supervisor_has_not_taken(record: StreamRecord) -> None:
    reader, writer = create_pipe()
    os.write(writer, b"first run ")
    assert record.length(writer) == 10
    record.begin_turn()
    taken = os.read(reader, 100)
    record.end_turn(len(taken), taken)
    os.write(writer, b"second run")
    assert record.length(writer) == 20
    assert record.tail(writer, 0) == "first run second run"
    assert record.tail(writer, 6) == "run second run"
    assert record.tail(writer, 10) == "second run"
    assert record.tail(writer, 20) == ""
    os.write(writer, b"x" * TAIL_BYTES)
    assert record.tail(writer, 10) == "x" * TAIL_BYTES
    os.close(reader)
    os.close(writer)
