"""The exporter's channel to the supervisor: it asks for snapshots of the supervisor's state."""

import socket
import threading
import time

import msgspec

from taskmaster.processes.ipc.snapshot import QUESTION_BYTES, Snapshot, receive_snapshot

REPLY_SECONDS = 2.0  # the supervisor replies within milliseconds, unless the database blocks it
ASK_SECONDS = 1.0


class Channel:
    """Asks for snapshots. Several threads may call `ask`: a lock lets them through one by one.

    `latest` is the last snapshot, which arrived at `replied_at` on the monotonic clock.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lock = threading.Lock()
        self._number = 0
        self.latest: Snapshot | None = None
        self.replied_at = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, within_seconds: float) -> Snapshot | None:
        """Return a new snapshot, or None if the supervisor does not reply in time."""
        deadline = time.monotonic() + within_seconds
        if not self._lock.acquire(timeout=within_seconds):
            return None
        try:
            return self._ask_until(deadline, within_seconds)
        except (OSError, msgspec.DecodeError):  # no reply in time, or the supervisor is gone
            return None
        finally:
            self._lock.release()

    def recent(self) -> Snapshot | None:
        """Return the last snapshot, or None if it is so old that the supervisor must be hung."""
        return self.latest if time.monotonic() - self.replied_at < REPLY_SECONDS else None

    def keep_asking(self) -> None:
        """Ask every second, in a thread, so that a scrape always finds a recent snapshot."""
        while True:
            self.ask(REPLY_SECONDS)
            time.sleep(ASK_SECONDS)

    def _ask_until(self, deadline: float, within_seconds: float) -> Snapshot | None:
        """Send a question and return the reply to it. Skip late replies to earlier questions."""
        self._number += 1
        self._socket.settimeout(within_seconds)
        self._socket.send(self._number.to_bytes(QUESTION_BYTES, "big"))
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            snapshot = receive_snapshot(self._socket)
            self.latest, self.replied_at = snapshot, time.monotonic()
            if snapshot.number == self._number:
                return snapshot
        return None
