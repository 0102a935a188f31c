"""Pending work: what the supervisor still has to write about workers, one piece at a time.

Each piece has its own time for the next try, so one that the database refuses does not keep the
others waiting.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from taskmaster.processes.supervisor.database.session import LOCKED_SECONDS, DatabaseSession
from taskmaster.store.connection import Connection

AGAIN = object()


@dataclass(slots=True)
class PendingWork:
    """One piece of work, which raises psycopg.Error or returns AGAIN if it cannot be done now.

    `worker` is the name of a worker whose leases it needs, or None.
    """

    subject: str
    work: Callable[[Connection], object]
    worker: str | None = None
    retry_at: float = 0.0
    is_done: bool = False

    def try_once(self, conn: Connection) -> None:
        """Try to do the work. Raises psycopg.Error."""
        self.is_done = self.work(conn) is not AGAIN


@dataclass(slots=True)
class PendingList:
    """The pieces of work that are not done yet, in their order."""

    session: DatabaseSession
    pieces: list[PendingWork] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session.on_connect.append(self._on_connect)

    def add(self, piece: PendingWork) -> None:
        """Do this piece as soon as the database responds."""
        self.pieces.append(piece)

    def run_due(self, now: float) -> None:
        """Try each piece that is due once."""
        for piece in [piece for piece in self.pieces if now >= piece.retry_at]:
            retry_at = self.session.run(piece.try_once, now, subject=piece.subject)
            piece.retry_at = now + LOCKED_SECONDS if retry_at is None else retry_at
        self.pieces = [piece for piece in self.pieces if not piece.is_done]

    def next_due(self) -> float:
        """Return when the next piece is due."""
        if not self.session.is_open:
            return math.inf
        return min((piece.retry_at for piece in self.pieces), default=math.inf)

    def workers(self) -> list[str]:
        """Return the workers whose leases a piece still needs."""
        return [piece.worker for piece in self.pieces if piece.worker is not None]

    def run_last(self) -> None:
        """Try each piece once more, while the supervisor stops."""
        for piece in self.pieces:
            self.session.run_last(piece.try_once)
        self.pieces = [piece for piece in self.pieces if not piece.is_done]

    def _on_connect(self) -> None:
        for piece in self.pieces:
            piece.retry_at = 0.0
