"""A supervisor in a process of its own, started by an application.

`BackgroundSupervisor` runs in the application, and `main` in the new process. That is a new
interpreter and no fork, because the application may have threads.
"""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from taskmaster.errors import TaskmasterError, WorkersFailed
from taskmaster.processes.ipc.lifeline import Lifeline, hold
from taskmaster.processes.ipc.spawn import hand_over, interpreter, take

if TYPE_CHECKING:
    from taskmaster.supervisor import Supervisor

READY = b"ready"
MAX_REPORT_BYTES = 65_536
EXIT_SECONDS = 3.0  # beyond the grace: the supervisor always exits within two


class BackgroundSupervisor:
    """A supervisor that was started. Leaving the `with` block stops it."""

    def __init__(self, supervisor: "Supervisor", *, within_seconds: float) -> None:
        self._grace_seconds = supervisor.options.grace_seconds
        self._lifeline = Lifeline()  # if this process is killed, the supervisor stops
        report_read, report_write = os.pipe()
        handed = hand_over(supervisor)
        try:
            self._process = interpreter(
                "taskmaster.processes.supervisor.background",
                (handed, report_write, self._lifeline.read_fd),
                process_group=0,
            )
        finally:
            os.close(handed)
            os.close(report_write)
        with os.fdopen(report_read, "rb", buffering=0) as report:
            try:
                _wait_until_ready(report.fileno(), within_seconds)
            except BaseException:
                self.kill()
                raise

    @property
    def pid(self) -> int:
        """The pid of the supervisor."""
        return self._process.pid

    def stop(self) -> int:
        """Stop the supervisor and return its exit code. Running jobs may finish in its grace."""
        self._process.terminate()
        try:
            code = self._process.wait(self._grace_seconds + EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._lifeline.close()
        return code

    def kill(self) -> int:
        """Kill the supervisor and its workers, and return the exit code.

        The next supervisor rescues their jobs.
        """
        self._process.kill()
        self._lifeline.close()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _wait_until_ready(report_fd: int, within_seconds: float) -> None:
    """Wait until the new process is ready. Raises WorkersFailed if it is not ready in time."""
    poll = select.poll()
    poll.register(report_fd, select.POLLIN)
    if not poll.poll(within_seconds * 1000):
        raise WorkersFailed(f"the supervisor was not ready within {within_seconds:g} s")
    report = os.read(report_fd, MAX_REPORT_BYTES)
    if report != READY:
        raise WorkersFailed(
            report.decode("utf-8", "replace") or "the supervisor exited before it was ready"
        )


def main(handed_fd: int, report_fd: int, lifeline_fd: int) -> None:
    """Run the supervisor in the new process, and report when it is ready or why it failed."""
    hold(lifeline_fd, signal.SIGTERM)
    supervisor: Supervisor = take(handed_fd)
    with os.fdopen(report_fd, "wb", buffering=0) as report:
        try:
            supervisor.run(on_ready=lambda: report.write(READY))
        except TaskmasterError as error:
            with suppress(BrokenPipeError):  # once it was ready, the application reads no more
                report.write(str(error).encode("utf-8", "replace")[:MAX_REPORT_BYTES])
            sys.exit(f"taskmaster: {error}")
