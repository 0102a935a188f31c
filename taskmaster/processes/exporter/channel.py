"""Questions to the supervisor. Whoever has the lock asks; late answers to earlier questions are passed over."""

import socket
import threading
import time

import msgspec

from taskmaster.processes.shared.snapshot import LARGEST_ANSWER, QUESTION_BYTES, Snapshot

ANSWER_SECONDS = (
    2.0  # the supervisor's loop turns within milliseconds, unless the database makes it wait
)
ASK_SECONDS = 1.0


class Channel:
    """`ask` may be called by several threads. `latest`: the last answer, at `answered_at` of the monotonic clock."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lock = threading.Lock()
        self._number = 0
        self.latest: Snapshot | None = None
        self.answered_at = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, within_seconds: float) -> Snapshot | None:
        """How the supervisor is; None: it did not answer in time."""
        deadline = time.monotonic() + within_seconds
        if not self._lock.acquire(timeout=within_seconds):
            return None
        try:
            self._number += 1
            self._socket.settimeout(within_seconds)
            self._socket.send(self._number.to_bytes(QUESTION_BYTES, "big"))
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                snapshot = msgspec.json.decode(self._socket.recv(LARGEST_ANSWER), type=Snapshot)
                self.latest, self.answered_at = snapshot, time.monotonic()
                if snapshot.number == self._number:
                    return snapshot
        except (
            OSError,
            msgspec.DecodeError,
        ):  # no answer in time, or nobody there: the watch on the channel ends us
            return None
        finally:
            self._lock.release()
        return None

    def recent(self) -> Snapshot | None:
        """The last answer; None: there was none for so long that the supervisor must be taken for hung."""
        return self.latest if time.monotonic() - self.answered_at < ANSWER_SECONDS else None

    def keep_asking(self) -> None:
        """The thread, so that there is a recent answer when a scrape finds the supervisor busy for a moment."""
        while True:
            self.ask(ANSWER_SECONDS)
            time.sleep(ASK_SECONDS)
