"""The whole demo, so small that it takes a few seconds."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskmaster.store.connection import Connection
from tests.support import eventually
from tests.support.supervisor_process import MARK, expect_no_process

# Tiles that take long enough for a worker to be killed in the middle of one.
TINY = ("--width", "640", "--tile-ms", "40", "--probes", "5")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """The directory of the demo's temporary files, which other users cannot read."""
    with tempfile.TemporaryDirectory(prefix="taskmaster-test-") as directory:
        yield Path(directory)


@pytest.fixture
def start(database_url: str, tmp_path: Path, scratch: Path) -> Iterator[Start]:
    """Start `taskmaster demo` on the test's database, and check that no process is left."""
    mark = f"demo-{os.urandom(6).hex()}"
    started: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ, "TASKMASTER_DATABASE_URL": database_url, MARK: mark, "SPT_NOENV": "1",
        "TMPDIR": str(scratch),
    }  # fmt: skip

    def demo(*arguments: str, **changes: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "taskmaster", "demo", *arguments]
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=environment | changes,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield demo
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
    expect_no_process(mark)


def schemas(conn: Connection) -> list[str]:
    rows = conn.execute(
        "select nspname from pg_namespace where nspname like 'taskmaster\\_demo%'"
    ).fetchall()
    return [name for (name,) in rows]


def test_killed_worker_and_rejected_job_cost_no_tile(
    start: Start, tmp_path: Path, scratch: Path, conn: Connection
) -> None:
    process = start(*TINY, "--json")
    out, err = process.communicate(timeout=50)

    assert process.returncode == 0, err
    figures = json.loads(out)
    assert figures["complete"] is True
    assert figures["tiles_present"] == figures["tiles"] == figures["acked"] > 10
    assert (figures["rejected_then_requeued"], figures["crashed_then_run_again"]) == (1, 1)
    assert figures["runs"] >= figures["tiles"] + 2
    assert "SIGKILL" in err
    assert (tmp_path / "mandelbrot.png").read_bytes().startswith(b"\x89PNG")
    assert schemas(conn) == []
    assert list(scratch.iterdir()) == []


def test_demo_never_touches_jobs_of_the_user(start: Start, conn: Connection) -> None:
    conn.execute("select put('tiles', '1'), put('probes', '2')")

    process = start(*TINY)
    out, err = process.communicate(timeout=50)

    assert process.returncode == 0, err
    assert "nothing: " in out
    assert conn.execute("select queue_name, state from jobs order by id").fetchall() == [
        ("tiles", "ready"),
        ("probes", "ready"),
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_leaves_nothing_behind(
    start: Start, tmp_path: Path, scratch: Path, conn: Connection, number: signal.Signals, code: int
) -> None:
    process = start("--width", "1600", "--tile-ms", "30")
    eventually(lambda: list(scratch.glob("*/*.rgb")), within=30)

    process.send_signal(number)
    _, err = process.communicate(timeout=15)

    assert process.returncode == code
    assert "Traceback" not in err
    assert schemas(conn) == []
    assert list(scratch.iterdir()) == []
    assert list(tmp_path.glob("*.png")) == []


def test_out_in_a_missing_directory_fails_at_once(start: Start) -> None:
    process = start("--out", "nowhere/poster.png")
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (1, "")
    assert err == "taskmaster: --out: there is no directory 'nowhere'\n"


def test_demo_without_a_database_fails_at_once(start: Start) -> None:
    process = start("--width", "64", TASKMASTER_DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert err.startswith("taskmaster: ")
    assert err.count("\n") == 1
