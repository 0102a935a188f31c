"""Starts the embedded server again when it was ended under a supervisor: nobody else is there to do it."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from taskmaster.embedded import pid_of, start_again
from taskmaster.errors import TaskmasterError
from taskmaster.processes.shared.backoff import Backoff
from taskmaster.processes.shared.spawn import hand_over, interpreter, take

END_SECONDS = 5.0


@dataclass(slots=True)
class EmbeddedService:
    """Has a process of its own do it, for that takes a while. The server then is an orphan, and so a child of ours."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.5, max_seconds=10.0))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def owns(self, pid: int) -> bool:
        """While the server starts, nobody can be told from it."""
        return self.process is not None or pid == pid_of(self.directory)

    def run_due(self, now: float, *, reachable: bool) -> None:
        """See to it that there is a server."""
        if reachable:
            self.backoff.reset()
        elif self.process is None and now >= self.start_at:
            self.start_at = now + self.backoff.record()
            self.start()

    def start(self) -> None:
        fd = hand_over(self.directory)
        self.process = interpreter(
            "taskmaster.processes.supervisor.embedded_service", (fd,), process_group=0
        )
        os.close(fd)

    def died(self) -> None:
        """It has done what it could."""
        assert self.process is not None
        self.process.wait(END_SECONDS)
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.died()


def main(directory_fd: int) -> None:
    """The process."""
    directory: Path = take(directory_fd)
    try:
        if start_again(directory):
            print(
                f"taskmaster: the embedded Postgres in {directory.parent}/ is started again",
                file=sys.stderr,
            )
    except TaskmasterError as error:
        print(f"taskmaster: {error}", file=sys.stderr)
