"""Children of callbacks see what plain Python gives them, and workers end as it does."""

import gzip
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Journal, Supervise, eventually
from tests.support.journal import JOURNAL

CALLBACKS = "tests.support.probing_callbacks:"


def by_plain_python(function: str) -> list[dict[str, Any]]:
    """Return the lines that a function of the callbacks' module notes in plain Python."""
    code = f"from tests.support import probing_callbacks as p; p.{function}(None)"
    with tempfile.NamedTemporaryFile() as journal:
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {JOURNAL: journal.name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        return Journal(Path(journal.name)).lines("child")


def differences(lines: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    """Return what children of a callback see and children of plain Python do not, or otherwise."""
    return [
        f"{line.get('how')}: {kind} {name}: {found.get(name)}, not {wanted.get(name)}"
        for line, plain in zip(lines, expected, strict=True)
        for kind, found in line["saw"].items()
        for wanted in [plain["saw"][kind]]
        for name in found.keys() | wanted.keys()
        if found.get(name) != wanted.get(name)
    ]


@pytest.fixture
def few_open_files() -> Iterator[None]:
    """A soft limit below the need of a supervisor, which raises it for itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_open_files")
@pytest.mark.parametrize("function", ["probe_children", "probe_descriptors"])
def test_child_of_a_callback_sees_what_plain_python_gives_it(
    supervise: Supervise, publisher: Publisher, journal: Journal, function: str
) -> None:
    limited = Consumer(
        *("q", f"{CALLBACKS}{function}"),
        memory_limit_mb=4_000,
        timeout_seconds=60,
        middleware=["metrics"],
    )
    expected = by_plain_python(function)
    with supervise(limited, http="127.0.0.1:0"):
        publisher.put("q")
        lines = eventually(lambda: (found := journal.lines("child"))[len(expected) - 1 :] and found)
    assert differences(lines, expected) == []


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


@pytest.mark.parametrize("timeout_seconds", [None, 60])
def test_next_job_of_a_batch_finds_what_the_first_found(
    supervise: Supervise, publisher: Publisher, journal: Journal, timeout_seconds: float | None
) -> None:
    callback = f"{CALLBACKS}vandalise"
    with supervise(Consumer("q", callback=callback, batch=3, timeout_seconds=timeout_seconds)):
        publisher.put_many("q", [{}] * 3)
        lines = eventually(lambda: (found := journal.lines("found"))[2:] and found)
    first, *others = (line["saw"] for line in lines)
    if timeout_seconds is not None:
        for seen in (first, *others):
            del seen["timers"]["0"]
    assert others == [first, first]
    assert journal.lines("alarm") == []


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


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_shared_memory_of_a_worker_that_has_ended_is_removed(
    supervise: Supervise, publisher: Publisher, journal: Journal, how: str
) -> None:
    """Python's resource tracker does it, which is in the process group of the worker."""
    callback = f"{CALLBACKS}leave_shared_memory"
    with supervise(Consumer("q", callback=callback, max_crashes=1, max_jobs_per_worker=1)):
        publisher.put("q", {"how": how})
        (line,) = eventually(lambda: journal.lines("left"))
        eventually(lambda: not Path("/dev/shm", line["name"]).exists())
