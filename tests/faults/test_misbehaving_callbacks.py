"""Callbacks that misbehave in their process: no other job is affected and no process is left."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.consumer import DELIVERIES, Delivery
from tests.support import Gates, Journal, RunningSupervisor, Supervise, eventually
from tests.support.descriptors import open_descriptors
from tests.support.misbehaving_callbacks import MIB, MISBEHAVE
from tests.support.queues import is_drained
from tests.support.supervisor_process import title_of

FAR_SECONDS = 60.0
ONCE = {"max_runs": 1, "max_crashes": 1}  # the first failure is the last


def consumer(**keys: Any) -> Consumer:
    return Consumer("q", callback=MISBEHAVE, **{**ONCE, **keys})


def pids(supervisor: RunningSupervisor) -> set[int]:
    """Return the pids of all processes of the supervisor."""
    return {int(text.split()[0]) for text in supervisor.processes()}


def child_pid(journal: Journal) -> int:
    """Wait until a callback has noted its child, and return the pid."""
    (line,) = eventually(lambda: journal.lines("child"))
    return int(line["child"])


def zombies(pid: int) -> list[int]:
    """Return the children of a process that have exited and are not reaped."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children if ") Z " in stat_of(one)]


def stat_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # reaped since it was listed
        return ""


# -- threads and children


@pytest.mark.parametrize("action", ["threads", "subprocess"])
def test_leftovers_of_a_callback_neither_hold_nor_outlive_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, action: str
) -> None:
    with supervise(consumer()) as supervisor:
        worker = supervisor.worker()
        ids = publisher.put_many("q", [{"do": action}, {}, {}])
        eventually(lambda: is_drained(admin))
        assert supervisor.worker() == worker
        supervisor.stop()
        assert supervisor.wait_for_exit() == 0  # and the fixture finds no process
    assert journal.finished() == ids


def test_leftover_subprocess_is_killed_with_its_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer()) as supervisor:
        publisher.put("q", {"do": "subprocess"})
        eventually(lambda: is_drained(admin))
        # The child may be about to become another program.
        eventually(lambda: child_pid(journal) in pids(supervisor))
        supervisor.signal(supervisor.worker(), signal.SIGTERM)
        eventually(lambda: child_pid(journal) not in pids(supervisor))


@pytest.mark.parametrize("action", ["fork, return", "fork, reject", "fork, raise", "fork, exit"])
def test_forked_child_does_not_continue_as_a_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, action: str
) -> None:
    with supervise(consumer(batch=10)) as supervisor:
        worker = supervisor.worker()
        ids = publisher.put_many("q", [{"do": action}, *[{}] * 5])
        eventually(lambda: is_drained(admin))
        assert child_pid(journal) not in pids(supervisor)
        assert supervisor.worker() == worker
    assert [(run.id, run.pid) for run in journal.runs()] == [(job_id, worker) for job_id in ids]


def test_forked_child_exits_when_its_callback_returns(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(consumer()) as supervisor:
        ids = publisher.put_many("q", [{"do": "fork, outlive"}, {}])
        eventually(lambda: is_drained(admin))
        eventually(lambda: child_pid(journal) in pids(supervisor))
        gates.open()
        eventually(lambda: child_pid(journal) not in pids(supervisor))
        ids += publisher.put_many("q", [{}] * 5)
        eventually(lambda: is_drained(admin))
        assert sorted((run.id, run.pid) for run in journal.runs()) == [
            (job_id, supervisor.worker()) for job_id in ids
        ]


@pytest.mark.parametrize("how", ["kill the worker", "terminate the worker", "stop the supervisor"])
def test_daemon_of_a_callback_is_gone_after_its_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, how: str
) -> None:
    with supervise(consumer(concurrency=2)) as supervisor:
        publisher.put("q", {"do": "daemon"})
        eventually(lambda: is_drained(admin))
        eventually(lambda: child_pid(journal) in pids(supervisor))
        (run,) = journal.runs()
        if how == "stop the supervisor":
            supervisor.stop()
            assert supervisor.wait_for_exit() == 0
        else:
            supervisor.signal(
                run.pid, signal.SIGKILL if how == "kill the worker" else signal.SIGTERM
            )
        eventually(lambda: child_pid(journal) not in pids(supervisor))


def test_daemon_survives_the_exit_of_another_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer(concurrency=2)) as supervisor:
        publisher.put("q", {"do": "daemon"})
        eventually(lambda: is_drained(admin))
        # Until then the child looks like its worker.
        eventually(lambda: title_of(child_pid(journal)).startswith("sleep"))
        (other,) = set(before := supervisor.workers()) - {journal.runs()[0].pid}
        supervisor.signal(other, signal.SIGKILL)
        eventually(lambda: len(after := supervisor.workers()) == 2 and after != before)
        eventually(lambda: child_pid(journal) in pids(supervisor))


@pytest.mark.parametrize("action", ["exec", "daemon", "daemon in Python"])
def test_nothing_outlives_a_killed_supervisor(
    supervise: Supervise, publisher: Publisher, journal: Journal, gates: Gates, action: str
) -> None:
    with supervise(consumer()) as supervisor:
        worker = supervisor.worker()
        publisher.put("q", {"do": action})
        left = worker if action == "exec" else child_pid(journal)
        eventually(lambda: title_of(left).startswith("sleep") or action == "daemon in Python")
        supervisor.kill()
        eventually(lambda: left not in pids(supervisor), within=2.0)


def test_daemon_in_python_keeps_no_lock_of_its_killed_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    with supervise(
        consumer(delivery="transactional", concurrency=2, max_runs=9, max_crashes=9)
    ) as supervisor:
        publisher.put("q", {"do": "daemon in Python"})
        child_pid(journal)
        gates.open()
        (run,) = journal.runs()
        supervisor.signal(run.pid, signal.SIGKILL)
        eventually(lambda: is_drained(admin))


def test_sigchld_ignored_by_one_job_hides_no_exit_code_from_next(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    consumer = Consumer("q", callback="tests.support.misbehaving_callbacks:use_children", batch=1)
    with supervise(consumer):
        publisher.put("q", {"do": "ignore"})
        publisher.put("q", {"do": "call"})
        eventually(lambda: admin.find(most=1) == [])
    assert [line["code"] for line in journal.lines("code")] == [1]


@pytest.mark.parametrize("timer", ["ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"])
def test_timers_left_by_a_callback_end_no_other_job(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, timer: str
) -> None:
    with supervise(consumer(batch=1)) as supervisor:
        worker = supervisor.worker()
        ids = publisher.put_many(
            "q",
            [
                {"do": "leave timers", "timer": timer, "seconds": 1.0},
                {"do": "work", "seconds": 1.3},
            ],
        )
        eventually(lambda: is_drained(admin))
        assert supervisor.worker() == worker
    assert journal.finished() == ids


# -- signals, descriptors, directories


@pytest.mark.parametrize("action", ["ignore SIGTERM", "block SIGTERM"])
def test_worker_that_refuses_sigterm_exits_after_its_job(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    action: str,
) -> None:
    with supervise(consumer()) as supervisor:
        worker = supervisor.worker()
        publisher.put("q", {"do": action})
        eventually(lambda: is_drained(admin))
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: held in journal.began())
        supervisor.signal(worker, signal.SIGTERM)
        gates.open()
        eventually(lambda: supervisor.workers() not in ([], [worker]))
        eventually(lambda: is_drained(admin))
        assert held in journal.finished()


@pytest.mark.parametrize("opens", ["zeros", "sockets"])
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_replaced_descriptors_neither_hang_nor_rerun_batch_mates(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    opens: str,
    delivery: Delivery,
) -> None:
    ids = publisher.put_many(
        "q", [{"do": "close and open", "opens": opens}, *[{"do": "work", "seconds": 0.2}] * 3]
    )
    batch = 1 if delivery == "transactional" else 4
    with supervise(
        consumer(batch=batch, concurrency=2, delivery=delivery, max_runs=2), slow_after_seconds=0.05
    ):
        eventually(lambda: {record.id for record in admin.find()} <= {ids[0]})
    assert sorted(job_id for job_id in journal.began() if job_id != ids[0]) == ids[1:]


@pytest.mark.parametrize("first", [3, 0], ids=["all but 0 to 2", "all"])
@pytest.mark.parametrize("batch", [1, 10])
def test_closed_descriptors_cost_the_worker_but_no_second_run(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    first: int,
    batch: int,
) -> None:
    ids = publisher.put_many("q", [{}, {"do": "close", "first": first}, {}, {}])
    with supervise(consumer(batch=batch)) as supervisor:
        eventually(lambda: is_drained(admin))
        eventually(lambda: journal.runs_of(ids[1])[0].pid not in supervisor.workers())
        ids.append(publisher.put("q"))
        eventually(lambda: is_drained(admin))
    assert sorted(journal.began()) == ids == sorted(journal.finished())


def test_removed_working_directory_stops_no_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, tmp_path: Path
) -> None:
    with supervise(consumer()) as supervisor:
        worker = supervisor.worker()
        publisher.put_many("q", [{"do": "chdir", "there": str(tmp_path / "there")}, {}])
        eventually(lambda: is_drained(admin))
        assert supervisor.worker() == worker
        supervisor.signal(worker, signal.SIGKILL)
        publisher.put("q", {"do": "where"})
        (where,) = eventually(lambda: journal.lines("where"))
    assert where["cwd"] == str(Path.cwd())


# -- exits


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("sys.exit", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("recurse", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_callback_that_raises_an_exit_costs_its_run_only(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    action: str,
    message: str,
) -> None:
    with supervise(consumer()) as supervisor:
        worker = supervisor.worker()
        job_id, fine = publisher.put_many("q", [{"do": action}, {}])
        eventually(lambda: fine in journal.finished() and admin.get(job_id).state == State.REJECTED)
        assert supervisor.worker() == worker
    (failure,) = admin.get(job_id).failures
    assert failure.cause == "exception"
    assert failure.message.startswith(message)
    assert len(journal.runs_of(job_id)) == 1


@pytest.mark.parametrize(
    ("action", "cause"),
    [("os._exit", "exit code 0"), ("SIGSEGV", "signal SIGSEGV"), ("SIGKILL", "signal SIGKILL")],
)
def test_callback_that_ends_its_process_costs_no_batch_mate(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    action: str,
    cause: str,
) -> None:
    ids = publisher.put_many("q", [{}, {"do": action}, {}])
    with supervise(consumer(batch=3)) as supervisor:
        eventually(
            lambda: [(job.id, job.state) for job in admin.find()] == [(ids[1], State.REJECTED)]
        )
        assert journal.runs_of(ids[1])[0].pid not in supervisor.workers()
    assert [failure.cause for failure in admin.get(ids[1]).failures] == [cause]
    assert sorted(journal.began()) == ids


# -- leftovers


def test_twenty_killed_workers_leave_no_descriptor_and_no_file(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with supervise(consumer(max_crashes=100, max_runs=100)) as supervisor:
        files = sorted(tmp_path.iterdir())
        before = sorted(open_descriptors(supervisor.pid).values())
        publisher.put_many("q", [{"do": "SIGKILL once"}] * 20)
        eventually(lambda: is_drained(admin), within=30.0)
        eventually(lambda: len(supervisor.workers()) == 1)
        eventually(
            lambda: kinds(sorted(open_descriptors(supervisor.pid).values())) == kinds(before)
        )
    assert len({run.pid for run in journal.runs()}) >= 20
    assert sorted(tmp_path.iterdir()) == files
    assert list(here.iterdir()) == []


def kinds(links: list[str]) -> list[str]:
    """Return what descriptors refer to, without inode numbers."""
    return sorted(link.split(":[")[0] for link in links)


def test_exited_daemons_do_not_pile_up_as_zombies(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(consumer(batch=1)) as supervisor:
        ids = publisher.put_many("q", [{"do": "short daemon", "count": 30}] * 5)
        eventually(lambda: is_drained(admin), within=30.0)
        eventually(lambda: len(zombies(supervisor.worker())) < 100)
        eventually(lambda: zombies(supervisor.pid) == [])
    assert journal.finished() == ids  # each once


# -- output


@contextmanager
def redirect_standard_output(path: Path) -> Iterator[None]:
    """Let the processes started in the block write to this file."""
    kept = os.dup(1)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def output_bytes(supervisor: RunningSupervisor) -> int:
    """Return the memory in which the supervisor keeps the output of its workers."""
    kept = [
        fd for fd, file in open_descriptors(supervisor.pid).items() if "taskmaster-output" in file
    ]
    return sum(Path(f"/proc/{supervisor.pid}/fd/{fd}").stat().st_blocks * 512 for fd in kept)


def ends_with(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().endswith(text)


def test_100_mb_of_output_block_no_job_and_leave_memory(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with ExitStack() as stack:
        with redirect_standard_output(output):
            supervisor = stack.enter_context(
                supervise(consumer(), Consumer("other", callback=MISBEHAVE))
            )
        loud = publisher.put("q", {"do": "shout", "mb": 100, "last": "the last line"})
        eventually(lambda: loud in journal.finished())
        other = publisher.put("other")
        eventually(lambda: other in journal.finished(), within=3.0)
        eventually(lambda: is_drained(admin), within=3.0)
        eventually(lambda: ends_with(output, b"the last line\n"), within=30.0)
        eventually(lambda: output_bytes(supervisor) < 10 * MIB)
    output.unlink()


def test_output_is_passed_on_before_the_next_heartbeat(
    supervise: Supervise, publisher: Publisher, admin: Admin, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with ExitStack() as stack:
        with redirect_standard_output(output):
            stack.enter_context(
                supervise(consumer(), heartbeat_seconds=1.0, gone_after_seconds=FAR_SECONDS)
            )
        publisher.put("q", {"do": "shout", "mb": 30, "last": "the last line"})
        eventually(lambda: ends_with(output, b"the last line\n"), within=30.0)
    output.unlink()
