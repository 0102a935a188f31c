"""Writes the log lines that a slow reader has not taken yet."""

from taskmaster.processes.supervisor.service import BaseService
from taskmaster.processes.system.log import write_pending_lines


class LogService(BaseService):
    """A service, because the supervisor never waits for the reader of its log."""

    def run_due(self, now: float) -> None:
        """Write what the reader takes now."""
        write_pending_lines()
