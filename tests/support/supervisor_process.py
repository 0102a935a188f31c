"""A supervisor in a process of its own, found with all its offspring by a mark in their environment."""

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
LEAVES_WITHIN_SECONDS = 20.0
PROC = Path("/proc")


@dataclass(slots=True)
class Supervised:
    """A running supervisor and its processes."""

    running: BackgroundSupervisor
    mark: str
    expected_exit: int | None = 0  # None: whatever it is
    exit_code: int | None = None
    asked: bool = False
    stopped: bool = False

    @property
    def pid(self) -> int:
        return self.running.pid

    def workers(self, queue_name: str = "") -> list[int]:
        """Pids of the workers, of one queue or of all, oldest first."""
        return self.titled(f"taskmaster worker {queue_name}")

    def worker(self) -> int:
        """The pid of the only worker; fails when there is another number of them."""
        pids = self.workers()
        assert len(pids) == 1, f"workers: {pids}"
        return pids[0]

    def template(self) -> int:
        """The pid of the template; fails while there is none."""
        pids = self.titled("taskmaster template")
        assert len(pids) == 1, f"templates: {pids}"
        return pids[0]

    def titled(self, title: str) -> list[int]:
        return [pid for pid in marked(self.mark) if title_of(pid).startswith(title)]

    def stop(self, *, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to leave, without waiting."""
        self.asked = True
        self.signal(self.pid, number)

    def stop_all(self, number: signal.Signals) -> None:
        """The same for all its processes, as a terminal or an init system does it."""
        for pid in [*self.workers(), self.template()]:
            self.signal(pid, number)
        self.stop(number=number)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of its processes."""
        os.kill(pid, number)

    def left(self) -> int:
        """Wait until it has left, as asked before or now; its exit code."""
        if not self.stopped:
            self.stopped = True
            if self.asked:  # a second SIGTERM would shorten the grace
                eventually(self.has_left, within=LEAVES_WITHIN_SECONDS)
            self.exit_code = self.running.stop()
        assert self.exit_code is not None
        return self.exit_code

    def has_left(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """SIGKILL it."""
        self.stopped = True
        self.expected_exit = None
        self.exit_code = self.running.kill()

    def processes(self) -> list[str]:
        """All that is left of it, as readers like to see it."""
        return [f"{pid} {title_of(pid)}" for pid in marked(self.mark)]


class Supervise(Protocol):
    """`with supervise(consumer, …, grace_seconds=0.5) as supervisor:` starts a supervisor and ends it."""

    def __call__(
        self,
        *consumers: Consumer,
        schema: str = "taskmaster",
        url: str | None = None,
        within: float = 20.0,
        **options: Any,
    ) -> AbstractContextManager[Supervised]: ...


@contextmanager
def supervised(
    supervisor: Supervisor, environment: Mapping[str, str], *, within: float = 20.0
) -> Iterator[Supervised]:
    """Start `supervisor` and end it; nothing that it has started may be left."""
    mark = secrets.token_hex(8)
    with _environment(
        {**environment, MARK: mark, "SPT_NOENV": "1"}
    ):  # setproctitle would write over the mark
        try:
            one = Supervised(supervisor.start(within_seconds=within), mark)
        except BaseException:
            expect_nobody(mark)
            raise
    try:
        yield one
    finally:
        code = one.left()
        expect_nobody(mark)
    assert one.expected_exit in (None, code), f"the supervisor left with {code}"


def expect_nobody(mark: str, *, within: float = GONE_WITHIN_SECONDS) -> None:
    """Fail when processes with this mark are left; and end them, for the tests that follow."""
    try:
        eventually(lambda: not marked(mark), within=within)
    except AssertionError:
        left = [(pid, title_of(pid)) for pid in marked(mark)]
        for pid, _ in left:
            _quietly(lambda pid=pid: os.kill(pid, signal.SIGKILL))  # type: ignore[misc]
        raise AssertionError(f"processes are left: {left}") from None


def marked(mark: str, name: str = MARK) -> list[int]:
    """Pids of living processes with this mark, lowest first. A zombie has no environment any more."""
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
