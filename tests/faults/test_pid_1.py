"""`taskmaster run` as PID 1 of a container."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster import Admin, Publisher
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, eventually
from tests.support.project import Project, project

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
OUT_SECONDS = 2.0
DAEMON = """
import os, signal
from tests.support import eventually

def leave_a_daemon(job):
    if job.run_count > 1:
        return
    if os.fork() == 0:
        os.setsid()
        note("daemon", pid=os.getpid())
        signal.pause()
    eventually(lambda: own_journal().lines("daemon"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_allowed() -> bool:
    if os.getuid() or not shutil.which("nsenter"):
        return False
    return subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not is_allowed(), reason="it takes root and namespaces")


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start(here: Project) -> int:
    """Start a container that runs taskmaster, and return its PID 1 as it is seen from outside."""
    here.start(through=CONTAINER)
    (init,) = children_of(here.pid)
    return init


def execute(init: int, command: str) -> None:
    """Run a shell command in the container, as `docker exec` does."""
    subprocess.run(["nsenter", "-t", str(init), "-p", "-m", "sh", "-c", command], check=True)


def test_crash_ends_daemons_of_callbacks_and_nothing_else(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    here.write_version("old", "from tests.support.journal import own_journal\n" + DAEMON)
    here.configure({"callback": "jobs:leave_a_daemon"})
    init = start(here)
    execute(init, "sleep 611 > /dev/null 2>&1 &")
    (executed,) = eventually(lambda: running("sleep 611"))
    publisher.put("q")
    eventually(lambda: admin.find() == [])
    assert len(journal.lines("daemon")) == 1
    # The daemon has the title of the worker that forked it, so it would be a second one.
    eventually(lambda: len(here.workers()) == 1)
    assert Path(f"/proc/{executed}").exists()
    os.kill(init, signal.SIGTERM)
    assert here.wait_for_exit() == 0
    eventually(lambda: not Path(f"/proc/{executed}").exists())


def running(title: str) -> list[int]:
    """Return the processes of this machine with this command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            if words == title:
                found.append(int(entry.name))
    return found


def test_pid_1_passes_signals_on_and_exits_as_the_supervisor(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    init = start(here)
    os.kill(init, signal.SIGHUP)
    eventually(lambda: here.reload_count() == 1)
    os.kill(init, signal.SIGUSR1)
    eventually(lambda: "signal ignored: SIGUSR1" in here.output())
    held = publisher.put("q", {"do": "hold"})
    eventually(lambda: journal.began() == [held])
    os.kill(init, signal.SIGQUIT)
    assert here.wait_for_exit() == 0
    assert "supervisor stopping: SIGQUIT, now" in here.output()


def test_pid_1_is_out_in_time_though_the_database_hangs(here: Project, conn: Connection) -> None:
    here.configure({}, grace_seconds=1)
    init = start(here)
    (backend,) = conn.execute(
        "select pid from pg_stat_activity where application_name like 'taskmaster supervisor%'"
        " and datname = current_database() order by backend_start limit 1"
    ).fetchone() or (0,)
    os.kill(backend, signal.SIGSTOP)
    try:
        since = time.monotonic()
        os.kill(init, signal.SIGTERM)
        here.wait_for_exit()
        assert time.monotonic() - since < 1 + OUT_SECONDS + 1  # one more for a busy machine
    finally:
        os.kill(backend, signal.SIGCONT)
