"""Descriptors, processes or shared memory run short: what runs goes on, and all comes back.

What cannot be started leaves its place vacant, is logged once, and is tried again.
"""

import errno
import itertools
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.processes.ipc import messages
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.ipc.snapshot import (
    QueueState,
    Snapshot,
    receive_snapshot,
    send_snapshot,
)
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.system.shortage import QUIET_SECONDS, ShortageGuard, ShortageLog
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, RunningSupervisor, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.descriptors import open_descriptors
from tests.support.project import Project, project
from tests.support.scraping import Exporter

# How many descriptors are free. A worker needs ten, so each of them fails once. The waits before
# the others are replaced grow.
SHORTAGES = {
    "taskmaster worker other": range(12),
    "taskmaster template": (0, 2, 4),
    "taskmaster exporter": (0, 2, 4),
}
TURNS = 10  # enough for a supervisor to have tried to start something
SMALL_SHARED_MEMORY = 'mount -t tmpfs -o size=256k none /dev/shm; exec "$@"'
COUNTING = """
from prometheus_client import Counter
COUNTED = Counter("mine", "of a callback", ["k"])

def count(job):
    for number in range(job.payload):
        COUNTED.labels(f"{number} " + "x" * 200).inc()
"""


def has_been_replaced(supervisor: RunningSupervisor, title: str, gone: int) -> bool:
    """Return whether another process has this title now."""
    return bool(set(supervisor.pids_by_title(title)) - {gone})


def turns(pid: int) -> int:
    """Return how many times a process has waited for something."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def kill_while_short(supervisor: RunningSupervisor, title: str, *, free: int) -> None:
    """Kill a process when its supervisor has few descriptors, and wait until it is replaced."""
    (gone,) = eventually(lambda: supervisor.pids_by_title(title))
    limit_descriptors(supervisor.pid, free=free)
    supervisor.signal(gone, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{gone}").exists())
    since = turns(supervisor.pid)
    eventually(
        lambda: has_been_replaced(supervisor, title, gone) or turns(supervisor.pid) >= since + TURNS
    )
    lift_limit(supervisor.pid)
    eventually(lambda: has_been_replaced(supervisor, title, gone))


def limit_descriptors(pid: int, *, free: int) -> None:
    """Let a process open only that many descriptors more, below its highest or above."""
    taken = open_descriptors(pid)
    unused = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(unused, free, None))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))


def lift_limit(pid: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, hard))


@pytest.mark.parametrize("title", SHORTAGES)
def test_shortage_of_descriptors_ends_nothing_that_runs(
    supervise: Supervise, publisher: Publisher, journal: Journal, gates: Gates, title: str
) -> None:
    consumers = Consumer("q", callback=ACT), Consumer("other", callback=ACT)
    with supervise(*consumers, http="127.0.0.1:0") as supervisor:
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        before = len(open_descriptors(supervisor.pid))
        for free in SHORTAGES[title]:
            kill_while_short(supervisor, title, free=free)
        gates.open()
        other = publisher.put("other")
        eventually(lambda: set(journal.finished()) >= {held, other})
        assert len(journal.runs_of(held)) == 1
        eventually(lambda: len(open_descriptors(supervisor.pid)) <= before)
        assert Exporter(supervisor.pid).get("/readyz").status == 200


def test_template_without_descriptors_or_processes_says_so(
    supervise: Supervise, publisher: Publisher, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    with supervise(Consumer("q", callback=ACT)) as supervisor:
        template, worker = supervisor.template(), supervisor.worker()
        limit_descriptors(template, free=0)
        supervisor.signal(worker, signal.SIGKILL)
        eventually(lambda: "worker not started, retrying: too many" in capfd.readouterr().err)
        assert supervisor.template() == template
        lift_limit(template)
        job_id = publisher.put("q")
        eventually(lambda: journal.finished() == [job_id])
        assert supervisor.template() == template


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("call", ["os.memfd_create", "os.eventfd", "os.pipe"])
def test_worker_that_cannot_be_created_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    scoreboard = Scoreboard(1)

    def create() -> WorkerProcess:
        return WorkerProcess.create(scoreboard.row(0), serial=1, number=0, name="w", ordered_at=0.0)

    create().close()
    before = open_descriptors(os.getpid())
    with monkeypatch.context() as patched:
        patched.setattr(call, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            create()
    assert open_descriptors(os.getpid()).keys() == before.keys()


def test_failure_is_logged_again_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = ShortageLog(clock=lambda: now)
    for _ in range(100):
        log.warn("worker not started", "no room")
        now += QUIET_SECONDS / 2
    log.warn("exporter not started", "no room")
    log.warn("worker not started", "no process")
    now += QUIET_SECONDS + 1
    log.warn("worker not started", "no process")
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "worker not started", "exporter not started", "worker not started", "worker not started",
    ]  # fmt: skip


def test_guard_hides_no_other_error() -> None:
    guard, ran = ShortageGuard(), []

    def short() -> None:
        raise OSError(errno.EMFILE, "too many")

    def broken() -> None:
        raise FileNotFoundError(errno.ENOENT, "missing")

    guard.run("one", short)
    guard.run("one", lambda: ran.append("too early"))
    guard.run("other", lambda: ran.append("other"))
    assert ran == ["other"]
    with pytest.raises(FileNotFoundError):
        guard.run("other", broken)


# -- messages


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)
        yield ours, theirs


@pytest.mark.parametrize("text", ["a", "\0", "é", "🦀", "\\", "\u2028"])
@pytest.mark.parametrize("length", [10, 70_000, 3_000_000])
def test_refusal_of_any_length_arrives(
    channel: tuple[socket.socket, socket.socket], text: str, length: int
) -> None:
    ours, theirs = channel
    messages.send(theirs, messages.failed(ValueError(text * length)))
    received = messages.receive(ours)
    assert received is not None
    assert isinstance(received.message, messages.Failed)
    assert received.message.sentence.startswith(text * 10)


def test_snapshot_of_many_queues_arrives(channel: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = channel
    queues = [QueueState(f"queue {number}", pids=[number] * 50) for number in range(3_000)]
    snapshot = Snapshot(
        number=7,
        queues=queues,
        wakeups={},
        rescued=0,
        listener_up=True,
        database_up=True,
        workers_up=True,
        stopping=False,
        database_troubles=["permission denied"],
    )
    theirs.setblocking(False)
    send_snapshot(theirs, snapshot)
    assert receive_snapshot(ours) == snapshot


def test_descriptors_that_find_no_room_are_reported(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = channel
    order = messages.ReporterOrder(1)
    with Path(os.devnull).open() as file:
        messages.send(theirs, order, [file.fileno()])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        received = messages.receive(ours)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert received is not None
    assert (received.message, received.fds, received.is_whole) == (order, [], False)


# -- limits


@pytest.mark.parametrize("limit", ["memory_limit_mb", "max_memory_per_worker_mb"])
def test_limit_below_an_idle_worker_is_refused_at_the_start(
    tmp_path: Path, database_url: str, journal: Journal, gates: Gates, limit: str
) -> None:
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.configure({limit: 2})
        here.start(ready=False)
        assert here.wait_for_exit() == 1
        line = here.log_line(limit)
    assert line.startswith(f"taskmaster: taskmaster.toml: consumer 'q': {limit} is 2, but")


# -- shared memory


@pytest.fixture
def small_shared_memory(
    tmp_path: Path, database_url: str, journal: Journal, gates: Gates
) -> Iterator[Project]:
    """Yield a project whose supervisor sees a /dev/shm of 256 kB."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.write_version("old", COUNTING)
        here.configure(
            {"callback": "jobs:count", "max_runs": 1, "max_crashes": 1},
            top='middleware = ["metrics"]',
        )
        text = (here.directory / "taskmaster.toml").read_text()
        (here.directory / "taskmaster.toml").write_text(
            text.replace("[supervisor]\n", '[supervisor]\nhttp = "127.0.0.1:0"\n')
        )
        yield here


def fill(file: Path) -> None:
    """Let a file take all the room of its file system."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


def test_full_shared_memory_costs_no_job_and_no_count(
    small_shared_memory: Project, publisher: Publisher, admin: Admin
) -> None:
    here = small_shared_memory
    here.start(through=["unshare", "-m", "sh", "-c", SMALL_SHARED_MEMORY, "sh"])
    shared_memory = Path(f"/proc/{here.pid}/root/dev/shm")
    filler = shared_memory / "fill"
    fill(filler)
    publisher.put_many("q", [300, 100])
    eventually(lambda: admin.size("q") == 0)
    assert admin.find(state=State.REJECTED) == []
    exporter = Exporter(here.pid)
    assert exporter.sum("mine_total") < 400
    assert "metrics of the workers not written" in here.output()
    filler.unlink()
    total = 400

    def is_all_counted() -> bool:
        nonlocal total
        publisher.put("q", 300)
        eventually(lambda: admin.size("q") == 0)
        total += 300
        return exporter.sum("mine_total") == total

    eventually(is_all_counted)
    assert here.stop() == 0


def test_start_without_shared_memory_runs_jobs(
    small_shared_memory: Project, publisher: Publisher, admin: Admin
) -> None:
    here = small_shared_memory
    here.environment["TMPDIR"] = str(here.directory)
    full = SMALL_SHARED_MEMORY.replace("exec", "dd if=/dev/zero of=/dev/shm/fill bs=4k; exec")
    here.start(through=["unshare", "-m", "sh", "-c", full, "sh"])
    publisher.put("q", 300)
    eventually(lambda: admin.size("q") == 0)
    assert admin.find(state=State.REJECTED) == []
    assert here.stop() == 0


# -- output


def test_output_is_passed_on_while_the_database_hangs(
    tmp_path: Path,
    database_url: str,
    conn: Connection,
    publisher: Publisher,
    journal: Journal,
    gates: Gates,
) -> None:
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.write_version(
            "old", "\ndef say(job):\n    act_as_told(job)\n    print('said', job.id)\n"
        )
        here.configure({"callback": "jobs:say"})
        here.start()
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: journal.began() == [held])
        found = conn.execute(
            "select pid from pg_stat_activity where datname = current_database()"
            " and application_name like 'taskmaster supervisor %'"
        ).fetchone()
        assert found is not None
        os.kill(found[0], signal.SIGSTOP)
        try:
            eventually(lambda: Path(f"/proc/{here.pid}/wchan").exists())
            gates.open()
            eventually(lambda: f"said {held}" in here.output(), within=8.0)
            assert "database unreachable" not in here.output()
        finally:
            os.kill(found[0], signal.SIGCONT)
        eventually(lambda: journal.finished() == [held])
        assert here.stop() == 0
