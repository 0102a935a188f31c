"""A supervisor in a process of its own: a fresh interpreter, so that an application with threads may start it."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from taskmaster.errors import TaskmasterError, WorkersFailed
from taskmaster.processes.shared.lifeline import Lifeline, hold
from taskmaster.processes.shared.spawn import hand_over, interpreter, take

if TYPE_CHECKING:
    from taskmaster.processes.supervisor.supervisor import Supervisor

READY = b"ready"
LEAVE_SECONDS = 3.0  # beyond the grace: the supervisor is always out within two


class BackgroundSupervisor:
    """A supervisor that was started. Leaving the `with` block stops it, within its grace."""

    def __init__(self, supervisor: "Supervisor", *, within_seconds: float) -> None:
        self._grace_seconds = supervisor.options.grace_seconds
        self._lifeline = Lifeline()  # should this process die, the supervisor stops
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
                self._wait_until_ready(report.fileno(), within_seconds)
            except BaseException:
                self.kill()
                raise

    def _wait_until_ready(self, report_fd: int, within_seconds: float) -> None:
        poll = select.poll()
        poll.register(report_fd, select.POLLIN)
        readable = poll.poll(within_seconds * 1000)
        said = os.read(report_fd, 65_536) if readable else b""
        if said == READY:
            return
        if said:
            raise WorkersFailed(said.decode())
        raise WorkersFailed(
            "the supervisor died before it was ready"
            if readable
            else f"the supervisor was not ready within {within_seconds:g} s"
        )

    @property
    def pid(self) -> int:
        """Return the id of the supervisor's process."""
        return self._process.pid

    def stop(self) -> int:
        """Stop in order: running jobs may finish within the grace. The exit code."""
        self._process.terminate()
        try:
            code = self._process.wait(self._grace_seconds + LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._lifeline.close()
        return code

    def kill(self) -> int:
        """End it at once; its workers go with it, and their jobs are given back by the next supervisor."""
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


def main(handed_fd: int, report_fd: int, lifeline_fd: int) -> None:
    """Be that process."""
    hold(lifeline_fd, signal.SIGTERM)
    supervisor: Supervisor = take(handed_fd)
    with os.fdopen(report_fd, "wb", buffering=0) as report:
        try:
            supervisor.run(on_ready=lambda: report.write(READY))
        except TaskmasterError as error:
            with suppress(BrokenPipeError):  # nobody listens any more once it was ready
                report.write(str(error).encode())
            sys.exit(f"taskmaster: {error}")
