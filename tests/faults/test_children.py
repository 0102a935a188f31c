"""What callbacks start sees what plain Python would give it, and a crash in C leaves a stack."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Journal, Supervise, eventually
from tests.support.probing_callbacks import PROBE

CALLBACKS = "tests.support.probing_callbacks:"
WAYS = ["multiprocessing", "inherited", "copied"]


def plain() -> dict[str, Any]:
    """Return what a child of plain Python sees."""
    command = [sys.executable, "-c", PROBE]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def test_child_of_a_callback_sees_what_plain_python_gives_it(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    limited = Consumer(
        "q", callback=f"{CALLBACKS}probe_children", memory_limit_mb=4_000, timeout_seconds=60
    )
    with supervise(limited):
        publisher.put("q")
        lines = eventually(lambda: (found := journal.lines("child"))[len(WAYS) - 1 :] and found)
    expected = plain()
    assert {line["how"]: line["saw"] for line in lines} == dict.fromkeys(WAYS, expected)


def test_child_of_a_callback_ends_when_it_is_terminated(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=f"{CALLBACKS}terminate_a_child")):
        publisher.put("q")
        (line,) = eventually(lambda: journal.lines("child"))
    assert line["saw"] == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL"])
def test_fault_in_c_leaves_the_stack_in_the_record(
    supervise: Supervise, publisher: Publisher, admin: Admin, name: str
) -> None:
    with supervise(Consumer("q", callback=f"{CALLBACKS}crash_by_signal", max_crashes=1)):
        job_id = publisher.put("q", {"signal": int(signal.Signals[name])})
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    assert failure.cause == f"signal {name}"
    assert "crash_by_signal" in failure.traceback
