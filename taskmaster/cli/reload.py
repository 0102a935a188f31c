"""Read the configuration again for a reload, without keeping the supervisor's loop waiting.

The file may be a FIFO without a writer or on a file system that has stalled. A supervisor that
waited for it would be taken for gone. A thread is safe here: a supervisor starts programs, and does
not fork.
"""

import threading
import time
from collections.abc import Callable

from taskmaster.errors import InvalidConfig
from taskmaster.supervisor import Supervisor

READ_SECONDS = 5.0
FIRST_SECONDS = 0.05  # nearly always long enough


class Reading(threading.Thread):
    """Reads once, in a thread that does not keep the process from exiting."""

    def __init__(self, read: Callable[[], Supervisor]) -> None:
        super().__init__(name="configuration", daemon=True)
        self._read = read
        self.result: Supervisor | Exception | None = None
        self.began_at = time.monotonic()
        self.is_late = False
        self.start()
        self.join(FIRST_SECONDS)

    def run(self) -> None:
        try:
            self.result = self._read()
        except Exception as error:  # noqa: BLE001 — the supervisor raises it
            self.result = error


class Reloader:
    """Called by the supervisor until it returns what was read, or raises why nothing was."""

    def __init__(
        self, read: Callable[[], Supervisor], within_seconds: float = READ_SECONDS
    ) -> None:
        self._read = read
        self._within_seconds = within_seconds
        self._reading: Reading | None = None

    def __call__(self) -> Supervisor | None:
        reading = self._reading
        if reading is None or (reading.is_late and not reading.is_alive()):
            reading = self._reading = Reading(self._read)
        if reading.is_alive():
            reading.is_late = time.monotonic() >= reading.began_at + self._within_seconds
            if reading.is_late:
                raise InvalidConfig(  # and again at once, as long as it hangs
                    f"the configuration was not read within {self._within_seconds:g} s: "
                    "is it a pipe, or on a file system that has stalled?"
                )
            return None
        self._reading = None
        if isinstance(reading.result, Exception):
            raise reading.result
        return reading.result
