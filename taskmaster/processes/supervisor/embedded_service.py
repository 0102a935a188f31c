"""The service that starts the embedded server again if it has exited.

`EmbeddedService` runs in the supervisor, and `main` in a process that starts the server.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from taskmaster.backoff import Backoff
from taskmaster.embedded import pid_of, start_again
from taskmaster.errors import TaskmasterError
from taskmaster.processes.ipc.spawn import end, handed_over, interpreter, take
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.system.shortage import reason_of, shortages

EXIT_SECONDS = 5.0


@dataclass(slots=True)
class EmbeddedService(BaseService):
    """Starts the server from another process, because a start takes a while.

    That process exits, and so the server becomes a child of the supervisor.
    """

    directory: Path
    session: DatabaseSession
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.5, max_seconds=10.0))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def owns(self, pid: int) -> bool:
        """Return whether `pid` may be the server.

        While the server starts, this is True for any child: its pid is not known yet.
        """
        return self.process is not None or pid == pid_of(self.directory)

    def run_due(self, now: float) -> None:
        """Start the server if it cannot be reached."""
        if self.session.is_open:
            self.backoff.reset()
        elif self.process is None and now >= self.start_at:
            self.start_at = now + self.backoff.record()
            self._start()

    def on_exit(self) -> None:
        """Reap the process that starts the server."""
        if self.process is not None:
            end(self.process, EXIT_SECONDS)
            self.process = None

    def close(self) -> None:
        self.on_exit()

    def _start(self) -> None:
        module = "taskmaster.processes.supervisor.embedded_service"
        try:
            with handed_over(self.directory) as fd:
                self.process = interpreter(module, (fd,), process_group=0)
        except (OSError, MemoryError) as error:
            shortages.warn("embedded Postgres not started", reason_of(error))


def main(directory_fd: int) -> None:
    """Start the server. This runs in the new process."""
    directory: Path = take(directory_fd)
    try:
        if start_again(directory):
            home = directory.parent
            print(f"taskmaster: embedded Postgres started again in {home}/", file=sys.stderr)
    except TaskmasterError as error:
        print(f"taskmaster: {error}", file=sys.stderr)
