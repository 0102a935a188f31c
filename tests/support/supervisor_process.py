"""A supervisor in its own process. A mark in the environment finds it and all its children."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taskmaster import Consumer, Supervisor
from taskmaster.processes.supervisor.background import BackgroundSupervisor
from tests.support.waiting import eventually

MARK = "TASKMASTER_TEST_MARK"
GONE_WITHIN_SECONDS = 3.0
EXITS_WITHIN_SECONDS = 20.0
PROC = Path("/proc")


@dataclass(slots=True)
class RunningSupervisor:
    """A running supervisor and its processes."""

    running: BackgroundSupervisor
    mark: str
    expected_exit: int | None = 0  # None allows any
    exit_code: int | None = None
    asked: bool = False
    stopped: bool = False

    @property
    def pid(self) -> int:
        return self.running.pid

    def workers(self, queue_name: str = "") -> list[int]:
        """Return the pids of the workers of one queue or of all, oldest first."""
        return self.pids_by_title(f"taskmaster worker {queue_name}")

    def worker(self) -> int:
        """Return the pid of the only worker. Fail if there is another number of them."""
        pids = self.workers()
        assert len(pids) == 1, f"workers: {pids}"
        return pids[0]

    def template(self) -> int:
        """Return the pid of the only template. Fail if there is another number of them."""
        pids = self.pids_by_title("taskmaster template")
        assert len(pids) == 1, f"templates: {pids}"
        return pids[0]

    def pids_by_title(self, title: str) -> list[int]:
        return [pid for pid in pids_with_mark(self.mark) if title_of(pid).startswith(title)]

    def stop(self, *, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the supervisor to stop, without waiting."""
        self.asked = True
        self.signal(self.pid, number)

    def stop_all(self, number: signal.Signals) -> None:
        """Send the signal to all processes, as a terminal or an init system does."""
        for pid in [*self.workers(), self.template()]:
            self.signal(pid, number)
        self.stop(number=number)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of the processes."""
        os.kill(pid, number)

    def wait_for_exit(self) -> int:
        """Wait for the exit, ask for it unless that was done, and return the exit code."""
        if not self.stopped:
            self.stopped = True
            if self.asked:  # a second SIGTERM would shorten the grace
                eventually(self.has_exited, within=EXITS_WITHIN_SECONDS)
            self.exit_code = self.running.stop()
        assert self.exit_code is not None
        return self.exit_code

    def has_exited(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """Kill the supervisor with SIGKILL."""
        self.stopped = True
        self.expected_exit = None
        self.exit_code = self.running.kill()

    def processes(self) -> list[str]:
        """Return pid and title of each process that still runs."""
        return [f"{pid} {title_of(pid)}" for pid in pids_with_mark(self.mark)]


class Supervise(Protocol):
    """Start a supervisor and stop it: `with supervise(consumer, …, grace_seconds=0.5) as one:`."""

    def __call__(
        self,
        *consumers: Consumer,
        schema: str = "taskmaster",
        url: str | None = None,
        within: float = 20.0,
        **options: Any,
    ) -> AbstractContextManager[RunningSupervisor]: ...


@contextmanager
def run_supervisor(
    supervisor: Supervisor, environment: Mapping[str, str], *, within: float = 20.0
) -> Iterator[RunningSupervisor]:
    """Start `supervisor` and stop it. No process that it started may be left."""
    mark = secrets.token_hex(8)
    # Without SPT_NOENV setproctitle would write over the mark.
    with _environment({**environment, MARK: mark, "SPT_NOENV": "1"}):
        try:
            one = RunningSupervisor(supervisor.start(within_seconds=within), mark)
        except BaseException:
            expect_no_process(mark)
            raise
    try:
        yield one
    finally:
        code = one.wait_for_exit()
        expect_no_process(mark)
    assert one.expected_exit in (None, code), f"the supervisor exited with {code}"


def expect_no_process(mark: str, *, within: float = GONE_WITHIN_SECONDS) -> None:
    """Fail if processes with this mark are left, and kill them for the sake of later tests."""
    try:
        eventually(lambda: not pids_with_mark(mark), within=within)
    except AssertionError:
        left = [(pid, title_of(pid)) for pid in pids_with_mark(mark)]
        for pid, _ in left:
            _quietly(lambda pid=pid: os.kill(pid, signal.SIGKILL))  # type: ignore[misc]
        raise AssertionError(f"processes are left: {left}") from None


def pids_with_mark(mark: str, name: str = MARK) -> list[int]:
    """Return the pids of processes with this mark, lowest first. Zombies have none."""
    wanted = f"{name}={mark}".encode()
    pids = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if wanted in _read(pid, "environ").split(b"\0")]


def title_of(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:  # gone, or another user's
        return b""


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except ProcessLookupError:
        return


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
