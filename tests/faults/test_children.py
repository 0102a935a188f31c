"""Children of callbacks see what plain Python gives them, and workers end as it does."""

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
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


@pytest.mark.parametrize("how", ["file", "gzip", "atexit"])
def test_worker_that_leaves_in_order_ends_as_python_does(
    supervise: Supervise, publisher: Publisher, journal: Journal, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "written"
    with supervise(Consumer("q", callback=f"{CALLBACKS}leave_unflushed")):
        publisher.put("q", {"path": str(path), "how": how})
        eventually(lambda: journal.lines("left"))
    content = path.read_bytes()
    assert (gzip.decompress(content) if how == "gzip" else content) == b"all of it"


def test_file_that_a_module_opened_is_flushed(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=f"{CALLBACKS}leave_unflushed")):
        publisher.put("q", {"path": "", "how": "module"})
        eventually(lambda: journal.lines("left"))
    assert Path(f"{journal.path}.module").read_text() == "all of it"


def test_end_that_hangs_is_bounded(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=f"{CALLBACKS}leave_a_hanging_end")) as supervisor:
        publisher.put("q")
        eventually(lambda: journal.lines("left"))
        began = time.monotonic()
        supervisor.stop()
    assert time.monotonic() - began < 5.0


def test_child_of_a_component_ends_when_it_is_terminated(
    supervise: Supervise, journal: Journal
) -> None:
    component = f"{CALLBACKS}component_that_terminates_a_child"
    with supervise(Consumer("q", callback=f"{CALLBACKS}terminate_a_child", component=component)):
        (line,) = eventually(lambda: journal.lines("child"))
    assert line["saw"] == -signal.SIGTERM


def test_signals_that_a_job_blocks_are_unblocked_for_the_next(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=f"{CALLBACKS}block_then_probe", batch=1)):
        publisher.put_many("q", [{}] * 3)
        lines = eventually(lambda: (found := journal.lines("found"))[2:] and found)
    assert [line["mask"] for line in lines] == [[]] * 3


def test_stack_is_kept_after_a_job_enabled_faulthandler(
    supervise: Supervise, publisher: Publisher, journal: Journal, admin: Admin
) -> None:
    callback = f"{CALLBACKS}crash_after_enabling"
    with supervise(Consumer("q", callback=callback, max_crashes=1, batch=1)):
        publisher.put("q", {"number": 1})
        eventually(lambda: journal.lines("enabled"))
        job_id = publisher.put("q", {"number": 2, "signal": int(signal.SIGSEGV)})
        eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert "crash_by_signal" in admin.get(job_id).failures[0].traceback


def test_program_with_a_copied_environment_counts_for_itself(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    consumer = Consumer("q", callback=f"{CALLBACKS}probe_children", middleware=["metrics"])
    with supervise(consumer, http="127.0.0.1:0"):
        publisher.put("q")
        lines = eventually(lambda: (found := journal.lines("child"))[len(WAYS) - 1 :] and found)
    assert [line["saw"]["metrics directory"] for line in lines] == [None] * len(WAYS)
