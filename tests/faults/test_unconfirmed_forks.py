"""Workers whose fork is never confirmed, or confirmed when they are no longer wanted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from setproctitle import getproctitle, setproctitle

from taskmaster import Admin, Consumer, Publisher, SupervisorOptions
from taskmaster.processes.ipc import permits
from taskmaster.processes.ipc.messages import Forked, WorkerFds, WorkerOrder
from taskmaster.processes.ipc.plan import Database, Plan
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.ipc.wakeups import WakeupQueue, WakeupReader
from taskmaster.processes.supervisor.pool.pool import WorkerPool
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.worker.main import main
from taskmaster.processes.worker.prepared import Prepared
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.worker_exits import pending_settlements

SERIAL = 7

# Only the template imports this. For each fuse it is killed between the two forks of a worker, so
# it never reports that fork.
FATAL_FORKS = """\
import os, signal
from contextlib import contextmanager
from tests.support.callbacks import act
from tests.support.journal import GATES, note

TEMPLATE = os.getpid()

@contextmanager
def component():
    note("entered", template=TEMPLATE)
    yield

def burn():
    for fuse in range(3 if os.getpid() == TEMPLATE else 0):
        try:
            os.unlink(f"{os.environ[GATES]}/fuse {fuse}")
        except FileNotFoundError:
            continue
        note("template killed")
        os.kill(TEMPLATE, signal.SIGKILL)

os.register_at_fork(after_in_parent=burn)
"""


def test_workers_of_a_killed_template_exit_and_are_replaced_once(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "fatal_forks.py").write_text(FATAL_FORKS)
    monkeypatch.syspath_prepend(tmp_path)
    consumer = Consumer(
        "q", callback="fatal_forks:act", component="fatal_forks:component", concurrency=2
    )
    with supervise(consumer) as supervisor:
        for fuse in range(3):
            gates.open(f"fuse {fuse}")
        for worker in supervisor.workers():
            supervisor.signal(worker, signal.SIGKILL)
        eventually(lambda: len(journal.lines("template killed")) == 3)
        killed = {line["pid"] for line in journal.lines("template killed")}
        eventually(
            lambda: (
                [line["template"] in killed for line in journal.lines("entered")].count(False) == 2
            )
        )
        entered = [line["pid"] for line in journal.lines("entered")]
        eventually(lambda: supervisor.workers() == sorted(entered[-2:]))
        assert len(entered) == 4  # the unconfirmed ones have claimed nothing
        ids = publisher.put_many("q", [{}] * 40)
        eventually(lambda: admin.find(most=1) == [])
        assert {run.pid for run in journal.runs()} <= set(entered[-2:])
    assert sorted(journal.began()) == ids


# -- not known to the supervisor


@contextmanager
def forbidden_component() -> Iterator[None]:
    raise AssertionError("an unknown worker was about to run")
    yield


def run_as_worker(wakeups_fd: int, scoreboard: Scoreboard, confirm_seconds: float = 10.0) -> int:
    """Run this process as the worker of slot 0, and return the exit code."""
    consumer = Consumer("q", callback=ACT)
    plan = Plan(
        database=Database("", "nowhere"),
        consumers=[consumer],
        source="test",
        workers=1,
        notify_ms=3_000,
    )
    prepared = Prepared(consumer, lambda job: None, forbidden_component, [], [], "test")
    permits_fd = permits.create()
    try:
        # The other descriptors are not used.
        fds = WorkerFds(wakeups_fd, permits_fd, *[scoreboard.fd] * 4)
        return main(
            plan,
            prepared,
            scoreboard,
            WorkerOrder(SERIAL, 0, 0, "unknown", 1, 0),
            fds,
            confirm_seconds=confirm_seconds,
        )
    finally:
        os.close(permits_fd)


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    """A scoreboard whose only row belongs to another worker, in the middle of a batch."""
    title, scoreboard = getproctitle(), Scoreboard(1)
    scoreboard.row(0).batch.begin(uuid4(), [1, 2])
    yield scoreboard
    os.close(scoreboard.fd)
    setproctitle(title)  # the worker has changed that of this process


def test_unknown_worker_exits_without_writing_to_its_row(
    scoreboard: Scoreboard,
) -> None:
    before = bytes(scoreboard.row(0).cells)
    wakeups = WakeupQueue()
    reader_fd = os.dup(wakeups.reader_fd)
    wakeups.close()
    with pytest.raises(SystemExit, match="worker exits: the supervisor has closed its pipe"):
        run_as_worker(reader_fd, scoreboard)
    assert bytes(scoreboard.row(0).cells) == before
    assert scoreboard.row(0).batch.entries() == []


def test_unconfirmed_worker_exits_without_writing_to_its_row(scoreboard: Scoreboard) -> None:
    before = bytes(scoreboard.row(0).cells)
    wakeups = WakeupQueue()
    assert run_as_worker(os.dup(wakeups.reader_fd), scoreboard, 0.01) == 1
    assert bytes(scoreboard.row(0).cells) == before
    assert scoreboard.row(0).batch.entries() == []
    wakeups.close()


def test_worker_exits_when_its_wakeup_pipe_is_closed() -> None:
    wakeups = WakeupQueue()
    reader = WakeupReader(os.dup(wakeups.reader_fd))
    wakeups.put()
    assert reader.get(1.0)
    assert not reader.get(0.0)
    wakeups.close()
    with pytest.raises(SystemExit):
        reader.get(1.0)


# -- confirmed late


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in its own group, like a worker."""
    command = [sys.executable, "-c", "import select; select.select([], [], [], 60)"]
    with subprocess.Popen(command, process_group=0) as process:
        yield process
        process.kill()


@pytest.fixture
def pool(conn: Connection) -> Iterator[WorkerPool]:
    """A pool that has ordered its only worker."""
    scoreboard = Scoreboard(1)
    unused = pending_settlements(conn, 0)
    pool = WorkerPool([Consumer("q", callback=ACT)], SupervisorOptions(), scoreboard, unused)
    process = pool.slots[0].process = WorkerProcess.create(
        pool.slots[0].row, serial=SERIAL, number=0, name="w", ordered_at=0.0
    )
    yield pool
    process.close()
    os.close(scoreboard.fd)


def test_worker_killed_before_its_fork_is_killed_at_its_fork(
    pool: WorkerPool, child: "subprocess.Popen[bytes]"
) -> None:
    (process,) = pool.processes()
    process.kill()
    pool.on_forked(Forked(SERIAL, child.pid))
    assert child.wait(5.0) == -signal.SIGKILL
    assert pool.owns(child.pid)  # so its exit is handled and it is replaced


def test_forked_worker_is_told_that_it_may_begin(
    pool: WorkerPool, child: "subprocess.Popen[bytes]"
) -> None:
    (process,) = pool.processes()
    reader = WakeupReader(os.dup(process.wakeups.reader_fd))
    assert not reader.get(0.0)
    pool.on_forked(Forked(SERIAL, child.pid))
    assert reader.get(1.0)
    assert child.poll() is None


def test_worker_ordered_before_an_eviction_claims_for_the_new_id(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    conn: Connection,
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        first = publisher.put("q")
        eventually(lambda: journal.finished() == [first] and admin.find() == [])
        template, worker = supervisor.template(), supervisor.worker()
        supervisor.signal(template, signal.SIGSTOP)
        supervisor.signal(worker, signal.SIGKILL)
        # Its successor is ordered and not forked yet.
        eventually(lambda: worker not in supervisor.workers())
        (evicted,) = supervisor_ids(conn)
        conn.execute("delete from supervisors")
        eventually(lambda: supervisor_ids(conn) not in ([], [evicted]))
        supervisor.signal(template, signal.SIGCONT)
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: held in journal.began())
        assert [
            row[0] for row in conn.execute("select supervisor from leases").fetchall()
        ] == supervisor_ids(conn)
        gates.open()
        eventually(lambda: admin.find() == [])
    assert journal.finished() == [first, held]


def supervisor_ids(conn: Connection) -> list[int]:
    return [row[0] for row in conn.execute("select id from supervisors").fetchall()]
