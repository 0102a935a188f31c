"""The service that writes log lines when a slow reader takes them."""

from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.system.log import write_pending_lines


class LogService(BaseService):
    """Tries again in each step of the loop, because the supervisor never waits for a log reader."""

    def run_due(self, now: float) -> None:
        """Write the pending lines that the reader takes now."""
        write_pending_lines()
