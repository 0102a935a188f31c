"""`Supervisor.start()` beside an application that forks, and commands without descriptors."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskmaster import Consumer, InvalidConfig, Publisher, Supervisor
from taskmaster.processes.ipc.lifeline import Lifeline
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.descriptors import open_descriptors
from tests.support.project import project


@contextmanager
def idle_child() -> Iterator[int]:
    """Fork a child that is idle until the end of the block, like that of an application's pool."""
    release, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        os.read(release, 1)
        os._exit(0)
    os.close(release)
    try:
        yield pid
    finally:
        os.close(hold)
        os.waitpid(pid, 0)


def own_descriptors() -> set[str]:
    return {fd.name for fd in Path("/proc/self/fd").iterdir()}


def test_fork_of_the_application_does_not_keep_its_supervisor() -> None:
    lifeline = Lifeline()
    pipe = open_descriptors(os.getpid())[lifeline.read_fd]
    with idle_child() as child:
        eventually(lambda: pipe not in open_descriptors(child).values())
        assert open_descriptors(child)
    lifeline.close()
    lifeline.close()


def test_start_and_stop_leave_no_descriptor_behind(supervise: Supervise) -> None:
    before = own_descriptors()
    with supervise(Consumer("q", callback=ACT)):
        pass
    with (
        pytest.raises(Exception, match="nowhere"),
        supervise(Consumer("q", callback="nowhere:send")),
    ):
        pass
    assert own_descriptors() == before


@pytest.mark.parametrize("url", ["postgresql://[", "host=a port", "postgresql://h/d?nonsense=1"])
def test_malformed_database_url_is_refused_at_once(url: str) -> None:
    supervisor = Supervisor(url, consumers=[Consumer("q", callback=ACT)])
    with pytest.raises(Exception, match="database_url cannot be read"):
        supervisor.start(within_seconds=20)


@pytest.mark.parametrize("schema", ["", "pg_x", "a\0b", "x" * 64])
def test_schema_name_that_postgres_refuses_is_refused_at_once(
    schema: str,
) -> None:
    with pytest.raises(InvalidConfig, match=r"^schema must"):
        Supervisor("postgresql://", consumers=[Consumer("q", callback=ACT)], schema=schema)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_supervisor_works_with_closed_standard_descriptors(
    closed: str, tmp_path: Path, database_url: str, publisher: Publisher, journal: Journal,
    gates: Gates,
) -> None:  # fmt: skip
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.write_version(
            "loud", "\nimport sys\nprint('imported')\nprint('imported', file=sys.stderr)"
        )
        here.configure({})
        line = f'exec "$@" {closed}'
        here.start(ready=False, through=("sh", "-c", line, "sh"))
        job_id = publisher.put("q", {})
        eventually(lambda: journal.finished() == [job_id])
        for pid in (here.pid, *here.templates()):
            links = [str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)]
            assert not [link for link in links if link.startswith("pipe:")]
        assert here.stop() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_command_works_with_closed_standard_descriptors(closed: str, database_url: str) -> None:
    environment = {**os.environ, "TASKMASTER_DATABASE_URL": database_url}
    for command in ("put mail 1", "status", "put mail - </dev/null", "requeue --queue mail"):
        line = f"exec {sys.executable} -m taskmaster {command} {closed}"
        done = subprocess.run(
            ["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")
