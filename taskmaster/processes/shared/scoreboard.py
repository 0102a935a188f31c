"""The shared table with one row per worker: written by the worker, read by the supervisor.

It is how the supervisor knows what a worker was doing when it died: which batch, how each job of it ended, which job
ran and since when. A job's start and end cost one store to memory each. Only integers and JSON are in it.
"""

import mmap
import os
import time
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from taskmaster.consumer import MAX_BATCH

CELL = 8
# The cells of a row, by index.
PHASE, WOKEN, STOP, SERVED, COUNT, STARTED, ENDED, STARTED_AT, JOURNAL, BEGAN_AT, TOKEN = range(11)
CPU_BEGAN, OUT_AT, ERR_AT, PROGRESS_OF, PROGRESS, NOTE, LOST, BACKEND, FOUND, EMPTY, IDS = range(
    TOKEN + 2, TOKEN + 13
)
HEADER_CELLS = IDS + MAX_BATCH
NOTE_BYTES = 200
NOTE_AT = HEADER_CELLS * CELL
JOURNAL_AT = NOTE_AT + NOTE_BYTES
JOURNAL_BYTES = 512 * 1024  # of memory that is taken only when it is written to
ROW_BYTES = -(-(JOURNAL_AT + JOURNAL_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
TABLE_BYTES = mmap.PAGESIZE  # one page in front for what concerns all workers

BOOTING, WORKING, IDLE, LEAVING = 0, 1, 2, 3
MILLION = 1_000_000


class Progress(NamedTuple):
    """How far a run says that it is: from 0 to 1, and in words."""

    fraction: float
    note: str


class Claims(NamedTuple):
    """Looks for jobs: those that found some, and those that found none."""

    found: int = 0
    empty: int = 0


class UnsettledBatch(NamedTuple):
    """What a dead worker's slot says of its last batch. `ended` jobs are acked unless they have an entry.

    `written`: how long its standard output and error were when the run began.
    """

    token: UUID
    ended: Sequence[int]
    entries: Sequence[dict[str, Any]]
    running: int | None
    running_since_ns: int
    unstarted: Sequence[int]
    cpu_began_ns: int = 0
    written: tuple[int, int] = (0, 0)
    progress: Progress | None = None


class ScoreboardRow:
    """One row. Reading and writing need no lock: each cell has one writer."""

    def __init__(self, row: memoryview) -> None:
        self.cells = row[:NOTE_AT].cast("q")
        self._note = row[NOTE_AT : NOTE_AT + NOTE_BYTES]
        self._token = row[TOKEN * CELL : TOKEN * CELL + 16]
        self._journal = row[JOURNAL_AT : JOURNAL_AT + JOURNAL_BYTES]

    def clear(self) -> None:
        """Make the row ready for a new worker."""
        for cell in range(IDS):
            self.cells[cell] = 0

    @property
    def idle(self) -> bool:
        return self.cells[PHASE] == IDLE

    @property
    def booted(self) -> bool:
        return self.cells[PHASE] != BOOTING

    @property
    def backend(self) -> int:
        """The pid of the server process that serves this worker; 0: it has none."""
        return self.cells[BACKEND]

    @property
    def lost_leases(self) -> int:
        """Batches whose outcomes were not written, because others had taken them over."""
        return self.cells[LOST]

    @property
    def claims(self) -> Claims:
        """How often this worker has looked for jobs."""
        return Claims(self.cells[FOUND], self.cells[EMPTY])

    @property
    def served(self) -> int:
        """Batches that this worker has settled."""
        return self.cells[SERVED]

    def begin(self, token: UUID, ids: Sequence[int]) -> None:
        """Enter a batch. The count comes last: until it is there, the row says that there is none."""
        cells = self.cells
        cells[COUNT] = cells[STARTED] = cells[ENDED] = cells[JOURNAL] = 0
        cells[BEGAN_AT] = time.monotonic_ns()
        cells[CPU_BEGAN] = time.process_time_ns()
        cells[IDS : IDS + len(ids)] = memoryview(array("q", ids))
        self._token[:] = token.bytes
        cells[COUNT] = len(ids)

    def finish(self) -> None:
        """The batch is settled."""
        self.cells[COUNT] = 0
        self.cells[SERVED] += 1

    def write(self, entry: dict[str, Any], *, leaving: int = 0) -> bool:
        """Keep `entry` for whoever settles this batch; False when there is no room for it and `leaving` bytes more."""
        line = orjson.dumps(entry) + b"\n"
        at = self.cells[JOURNAL]
        if at + len(line) + leaving > JOURNAL_BYTES:
            return False
        self._journal[at : at + len(line)] = line
        self.cells[JOURNAL] = at + len(line)
        return True

    def entries(self) -> list[dict[str, Any]]:
        """What was written since `begin`, or since the start of the worker."""
        text = bytes(self._journal[: self.cells[JOURNAL]])
        return [orjson.loads(line) for line in text.splitlines() if line]

    def running(self) -> int | None:
        """The id of the job that runs now."""
        cells = self.cells
        ended = cells[ENDED]
        return cells[IDS + ended] if cells[COUNT] > ended and cells[STARTED] > ended else None

    def run(self) -> tuple[int, int] | None:
        """The job that runs now, and when this run of it began."""
        job = self.running()
        return None if job is None else (job, self.cells[STARTED_AT])

    def batch(self) -> tuple[UUID, list[int]]:
        """The token and the ids of the batch at hand; no ids: there is none."""
        count = self.cells[COUNT]
        return UUID(bytes=bytes(self._token)), list(self.cells[IDS : IDS + count])

    def unsettled_batch(self) -> UnsettledBatch | None:
        """The batch that the worker left unsettled; None when there is none."""
        token, ids = self.batch()
        started, ended = self.cells[STARTED], self.cells[ENDED]
        if not ids:
            return None
        running = ids[ended] if started > ended else None
        unstarted = ids[max(started, ended) :]
        cells = self.cells
        return UnsettledBatch(
            token,
            ids[:ended],
            self.entries(),
            running,
            cells[STARTED_AT],
            unstarted,
            cells[CPU_BEGAN],
            (cells[OUT_AT], cells[ERR_AT]),
            self.progress(),
        )

    def note_progress(self, fraction: float, note: str) -> None:
        """Keep how far the job at hand is. It belongs to the run that began at STARTED_AT, so nobody need clear it."""
        cells = self.cells
        cells[PROGRESS_OF] = 0
        encoded = note.encode("utf-8", "replace")[:NOTE_BYTES]
        self._note[: len(encoded)] = encoded
        cells[NOTE] = len(encoded)
        cells[PROGRESS] = int(fraction * MILLION)
        cells[PROGRESS_OF] = cells[STARTED_AT]

    def progress(self) -> Progress | None:
        """How far the run at hand says that it is; None: it has not said."""
        cells = self.cells
        if not cells[PROGRESS_OF] or cells[PROGRESS_OF] != cells[STARTED_AT]:
            return None
        note = bytes(self._note[: cells[NOTE]]).decode("utf-8", "ignore")
        return Progress(cells[PROGRESS] / MILLION, note.replace("\0", ""))


class Scoreboard:
    """The table: a memfd, so that it has no name and goes with its last user."""

    def __init__(self, count: int, fd: int | None = None) -> None:
        size = TABLE_BYTES + count * ROW_BYTES
        self.count = count
        self.fd = os.memfd_create("taskmaster-slots") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self._memory = memoryview(mmap.mmap(self.fd, size))
        self._shared = self._memory[:TABLE_BYTES].cast("q")

    def row(self, index: int) -> ScoreboardRow:
        at = TABLE_BYTES + index * ROW_BYTES
        return ScoreboardRow(self._memory[at : at + ROW_BYTES])

    @property
    def notified_until_ns(self) -> int:
        """Until when, on the monotonic clock, puts are known to notify."""
        return self._shared[0]

    @notified_until_ns.setter
    def notified_until_ns(self, value: int) -> None:
        self._shared[0] = value
