"""The record of a failed run: its cause, its resources, its output and its progress."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Failure, JobRecord, Publisher, State
from taskmaster.processes.ipc.output import TAIL_BYTES
from taskmaster.processes.supervisor.exits.cause import KernelFiles, OomWatch
from taskmaster.store import supervisors
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.misbehaving_callbacks import MIB, MISBEHAVE
from tests.support.project import Project, project

SIGKILLED = 9  # as a wait status
MEMORY = Path("/sys/fs/cgroup/memory")


def consumer(**keys: Any) -> Consumer:
    return Consumer("q", callback=MISBEHAVE, **{"max_runs": 1, "max_crashes": 1, **keys})


def failure_of(admin: Admin, job_id: int) -> Failure:
    """Wait until the job is rejected, and return its only failure."""
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    (failure,) = admin.get(job_id).failures
    return failure


# -- the cause


@pytest.mark.parametrize(
    ("payload", "limits", "cause", "where"),
    [
        ({"do": "raise"}, {}, "exception", "_raise"),
        ({"do": "retry"}, {}, "retry", None),
        ({"do": "reject"}, {}, "rejected", None),
        ({"do": "hold"}, {"timeout_seconds": 1.0}, "timeout", "wait_at"),
        ({"do": "spin"}, {"cpu_limit_seconds": 0.2}, "cpu limit", "_spin"),
        ({"do": "eat", "mb": 200}, {"memory_limit_mb": 150}, "memory limit", "_eat"),
        ({"do": "SIGKILL"}, {}, "signal SIGKILL", None),
        ({"do": "os._exit", "code": 13}, {}, "exit code 13", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_failure_has_one_cause_and_the_resources_used(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    payload: dict[str, Any],
    limits: dict[str, Any],
    cause: str,
    where: str | None,
) -> None:
    with supervise(consumer(**limits)):
        failure = failure_of(admin, publisher.put("q", payload))
    assert (failure.cause, failure.run) == (cause, 1)
    assert failure.peak_memory_mb is not None
    assert 5 < failure.peak_memory_mb < 1000
    assert failure.cpu_seconds is not None
    assert 0 <= failure.cpu_seconds < 10
    assert failure.duration_seconds is not None
    assert 0 <= failure.duration_seconds < 10
    assert where is None or where in failure.traceback
    assert bool(failure.traceback) == (where is not None)


def test_resource_figures_are_those_of_the_run(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with supervise(consumer(cpu_limit_seconds=0.3)):
        first = failure_of(admin, publisher.put("q", {"do": "spin"}))
        quick = failure_of(admin, publisher.put("q", {"do": "SIGKILL"}))
    assert first.cpu_seconds is not None
    assert first.duration_seconds is not None
    assert 0.3 <= first.cpu_seconds <= first.duration_seconds + 0.1
    assert quick.cpu_seconds is not None
    assert quick.cpu_seconds < 0.2


# -- out of memory


def own_cgroup() -> Path | None:
    """Return the memory cgroup of this process, if it is one of version 1."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return MEMORY / path.lstrip("/")
    return None


@contextmanager
def small_cgroup(mb: int) -> Iterator[Path | None]:
    """Yield a new cgroup below our own with this memory limit. None if that is impossible."""
    parent = own_cgroup()
    if parent is None or not os.access(parent, os.W_OK):
        yield None
        return
    cgroup = parent / f"taskmaster-test-{os.getpid()}"
    cgroup.mkdir()
    try:
        (cgroup / "memory.limit_in_bytes").write_text(str(mb * MIB))
        yield cgroup
    finally:
        eventually(lambda: try_remove(cgroup))


def try_remove(cgroup: Path) -> bool:
    """Remove a cgroup. Return False if a process is still in it."""
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.configure({"callback": MISBEHAVE, "max_crashes": 1})
        yield one


def test_run_killed_by_the_oom_killer_is_recorded_as_such(
    here: Project,
    publisher: Publisher,
    admin: Admin,
    tmp_path: Path,
) -> None:
    with small_cgroup(mb=200) as cgroup:
        if cgroup is None:  # this machine has none, so the test writes what the kernel would
            kernel = Kernel(tmp_path)
            oom_watch = OomWatch(kernel.files)
            kernel.kill(1)
            assert oom_watch.cause(SIGKILLED) == "out of memory"
            return
        here.start(through=("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup)))
        failure = failure_of(admin, publisher.put("q", {"do": "eat", "mb": 400}))
        here.stop()
    assert failure.cause == "out of memory"
    assert "ended while it ran: out of memory" in failure.message
    assert failure.peak_memory_mb is not None
    assert failure.peak_memory_mb > 30


class Kernel:
    """Counts OOM kills as the kernel does in /proc/vmstat and in the cgroup of the supervisor."""

    def __init__(self, directory: Path) -> None:
        self.files = KernelFiles(
            cgroups=directory / "cgroups", cgroup_root=directory, vmstat=directory / "vmstat"
        )
        self.files.cgroups.write_text("0::/service\n")
        self._cgroup = directory / "service" / "memory.events"
        self.kill(0)

    def kill(self, count: int) -> None:
        """Count this number of kills on the machine, in all."""
        self.files.vmstat.write_text(f"pgfault 7\noom_kill {count}\nnuma_hit 3\n")

    def kill_ours(self, count: int) -> None:
        """Count this number of kills in our cgroup, which has no counter before."""
        self._cgroup.parent.mkdir(exist_ok=True)
        self._cgroup.write_text(f"low 0\noom 1\noom_kill {count}\n")


def test_oom_kill_in_another_container_is_not_taken_for_ours(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.kill_ours(3)
    oom_watch = OomWatch(kernel.files)
    kernel.kill(1)
    assert oom_watch.cause(SIGKILLED) == "signal SIGKILL"
    kernel.kill_ours(4)
    assert oom_watch.cause(SIGKILLED) == "out of memory"


def test_only_a_sigkill_with_an_oom_kill_is_out_of_memory(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    oom_watch = OomWatch(kernel.files)
    assert oom_watch.cause(SIGKILLED) == "signal SIGKILL"
    kernel.kill(1)
    assert oom_watch.cause(3 << 8) == "exit code 3"
    assert oom_watch.cause(SIGKILLED) == "out of memory"
    assert oom_watch.cause(SIGKILLED) == "signal SIGKILL"


def test_old_oom_kill_is_not_the_cause_of_a_later_sigkill(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    oom_watch = OomWatch(kernel.files)
    kernel.kill(1)  # of some other program
    oom_watch.run_due(100.0)
    oom_watch.run_due(200.0)
    assert oom_watch.cause(SIGKILLED) == "signal SIGKILL"
    kernel.kill(2)
    oom_watch.run_due(300.0)  # between the kill and the report of the exit
    assert oom_watch.cause(SIGKILLED) == "out of memory"


# -- progress


def test_progress_is_shown_while_the_job_runs_and_not_after(
    supervise: Supervise, publisher: Publisher, admin: Admin, conn: Connection, gates: Gates
) -> None:
    payload = {"do": "progress", "fraction": 0.25, "note": "a quarter of the pages", "then": "hold"}
    with supervise(consumer()) as supervisor:
        job_id = publisher.put("q", payload)
        (run,) = eventually(lambda: supervisors.running(conn, job_id, most=10))
        assert (run.job_id, run.queue_name, run.pid) == (job_id, "q", supervisor.worker())
        assert (run.progress, run.note) == (0.25, "a quarter of the pages")
        assert run.seconds >= 0
        gates.open()
        eventually(lambda: admin.find() == [] and supervisors.running(conn, None, most=10) == [])


@pytest.mark.parametrize("then", ["SIGKILL", "raise", "reject", "hold"])
def test_progress_of_a_failed_run_is_recorded(
    supervise: Supervise, publisher: Publisher, admin: Admin, then: str
) -> None:
    payload = {"do": "progress", "fraction": 0.5, "note": "½ of it", "then": then}
    with supervise(consumer(timeout_seconds=1.0)):
        failure = failure_of(admin, publisher.put("q", payload))
    assert (failure.progress, failure.progress_note) == (0.5, "½ of it")


def test_progress_of_a_job_is_not_attributed_to_the_next(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    first, second, third = publisher.put_many(
        "q",
        [
            {"do": "progress", "fraction": 0.5, "note": "half", "then": "reject"},
            {"do": "reject"},
            {"do": "SIGKILL"},
        ],
    )
    with supervise(consumer(batch=10)):
        assert failure_of(admin, first).progress == 0.5
        assert failure_of(admin, second).progress is None
        assert failure_of(admin, third).progress is None


# -- output


def print_payload(text: str, *, by: str, end: str = "reject") -> dict[str, str]:
    """Return the payload of a job that prints `text` and then ends."""
    return {"do": "print", "text": text, "by": by, "end": end}


def output_of(record: JobRecord) -> tuple[str, str]:
    (failure,) = record.failures
    return failure.stdout.rstrip("\n"), failure.stderr.rstrip("\n")


@pytest.mark.parametrize("end", ["reject", "raise", "crash"])
def test_output_is_recorded_however_it_was_written(
    supervise: Supervise, publisher: Publisher, admin: Admin, end: str
) -> None:
    with supervise(consumer()):
        for by in ("print", "write", "process", "c"):
            failure = failure_of(
                admin, publisher.put("q", print_payload(f"grüße, {by}", by=by, end=end))
            )
            assert failure.stdout.rstrip("\n") == failure.stderr.rstrip("\n") == f"grüße, {by}"


@pytest.mark.parametrize("end", ["reject", "crash"])
def test_record_holds_the_last_4_kb_of_output(
    supervise: Supervise, publisher: Publisher, admin: Admin, end: str
) -> None:
    text = "".join(f"{number:07}\n" for number in range(10_000))
    with supervise(consumer()):
        failure = failure_of(admin, publisher.put("q", print_payload(text, by="write", end=end)))
    assert failure.stdout == failure.stderr == text[-TAIL_BYTES:]


@pytest.mark.parametrize("end", ["reject", "crash"])
def test_output_that_is_not_utf_8_does_not_lose_the_record(
    supervise: Supervise, publisher: Publisher, admin: Admin, end: str
) -> None:
    with supervise(consumer()):
        failure = failure_of(admin, publisher.put("q", print_payload("", by="no utf-8", end=end)))
    assert failure.stdout == failure.stderr == "caf� ��� end\n"


@pytest.mark.parametrize("batch", [1, 10])
@pytest.mark.parametrize("end", ["reject", "crash"])
def test_record_holds_no_output_of_the_previous_job(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    end: str,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    mates = print_payload("", by="nothing", end=end), print_payload("the third", by="print")
    with supervise(consumer(batch=batch)):
        for by in ("print", "part of a line", "process"):
            _, second, third = publisher.put_many(
                "q", [print_payload("the first", by=by, end="ack"), *mates]
            )
            failure_of(admin, second)
            failure_of(admin, third)
            assert output_of(admin.get(second)) == ("", ""), by
            assert output_of(admin.get(third)) == ("the third", "the third"), by


def test_line_without_an_end_is_recorded_for_its_own_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with supervise(consumer()):
        job_id = publisher.put("q", print_payload("no newline", by="part of a line"))
        failure_of(admin, job_id)
    assert output_of(admin.get(job_id)) == ("no newline", "no newline")
