"""The scoreboard: shared memory with one row per worker slot.

Workers write it and the supervisor reads it. When a worker exits, its row shows which batch it had,
how each job of the batch ended, which job was running and since when. Starting and ending a job
cost one store to memory each. A row holds integers and JSON only. Cells are used in this file only,
except by the loop over a batch (worker/batch.py), where a method call per job would be too slow.
"""

import mmap
import os
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from taskmaster.consumer import MAX_BATCH
from taskmaster.failure import Progress
from taskmaster.processes.ipc.output import TAIL_BYTES, StreamRecord

CELL_BYTES = 8
# The cells of a row, by index. A token takes two.
PHASE, WOKEN, STOP, SETTLED, COUNT, STARTED, ENDED, STARTED_NS, JOURNAL, BATCH_NS, TOKEN = range(11)
CPU_NS, STDOUT_AT, STDERR_AT, PROGRESS_OF, PROGRESS, NOTE = range(TOKEN + 2, TOKEN + 8)
LOST, BACKEND, FOUND, EMPTY, FAULT = range(TOKEN + 8, TOKEN + 13)
STDOUT, STDERR, IDS = range(TOKEN + 13, TOKEN + 18, 2)  # a stream takes two
NOTE_BYTES = 200
NOTE_AT = (IDS + MAX_BATCH) * CELL_BYTES
STDOUT_END_AT = NOTE_AT + NOTE_BYTES
STDERR_END_AT = STDOUT_END_AT + TAIL_BYTES
JOURNAL_AT = STDERR_END_AT + TAIL_BYTES
JOURNAL_BYTES = 512 * 1024  # the kernel provides the memory only when it is written to
ROW_BYTES = -(-(JOURNAL_AT + JOURNAL_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
TABLE_BYTES = mmap.PAGESIZE  # one page before the rows for what concerns all workers

MILLION = 1_000_000


class Phase(IntEnum):
    """The phase of a worker's life, as the worker notes it in its row."""

    BOOTING = 0
    WORKING = 1
    IDLE = 2
    EXITING = 3


class Claims(NamedTuple):
    """How many claims of a worker found jobs, and how many found none."""

    found: int = 0
    empty: int = 0


class CurrentRun(NamedTuple):
    """The run of a job that is in progress.

    `started_ns` is monotonic and distinguishes two runs of one job.
    """

    job_id: int
    started_ns: int


class Baseline(NamedTuple):
    """A worker's CPU time and output when its current run started.

    `output_offsets` are the lengths of its standard output and error in bytes.
    """

    cpu_ns: int = 0
    output_offsets: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledBatch:
    """The last batch of a worker that exited, as its scoreboard row shows it.

    Jobs in `ended` were acked unless `entries` holds a settlement for them. `current` is the job
    that was running, `started_ns` when it started on the monotonic clock.
    """

    token: UUID
    ended: Sequence[int]
    entries: Sequence[dict[str, Any]]
    current: int | None
    started_ns: int
    unstarted: Sequence[int]
    baseline: Baseline = field(default_factory=Baseline)
    progress: Progress | None = None


class BatchRecord:
    """The part of a row that describes the worker's current batch."""

    def __init__(self, cells: memoryview, memory: memoryview) -> None:
        self._cells = cells
        self._note = memory[NOTE_AT : NOTE_AT + NOTE_BYTES]
        self._token = memory[TOKEN * CELL_BYTES : TOKEN * CELL_BYTES + 16]
        self._journal = memory[JOURNAL_AT : JOURNAL_AT + JOURNAL_BYTES]

    # -- written by the worker

    def begin(self, token: UUID, ids: Sequence[int]) -> None:
        """Enter a batch. The count is written last: until then, the row has no batch."""
        cells = self._cells
        cells[COUNT] = cells[STARTED] = cells[ENDED] = cells[JOURNAL] = 0
        cells[BATCH_NS] = time.monotonic_ns()
        cells[CPU_NS] = time.process_time_ns()
        cells[IDS : IDS + len(ids)] = memoryview(array("q", ids))
        self._token[:] = token.bytes
        cells[COUNT] = len(ids)

    def start_job(self, number: int) -> None:
        """Note that the job with this number in the batch, counted from 1, starts now."""
        self._cells[STARTED_NS] = time.monotonic_ns()
        self._cells[STARTED] = number

    def end_job(self, number: int) -> None:
        """Note that the job with this number in the batch has ended."""
        self._cells[ENDED] = number

    def finish(self) -> None:
        """Note that the batch is settled."""
        self._cells[COUNT] = 0
        self._cells[SETTLED] += 1

    def note_baseline(self, baseline: Baseline) -> None:
        """Note the CPU time and output so far: what comes later belongs to the next run."""
        self._cells[CPU_NS] = baseline.cpu_ns
        self._cells[STDOUT_AT], self._cells[STDERR_AT] = baseline.output_offsets

    def note_progress(self, fraction: float, note: str) -> None:
        """Keep the progress of the current run. It names its run, so it need not be cleared."""
        cells = self._cells
        cells[PROGRESS_OF] = 0
        encoded = note.encode("utf-8", "replace")[:NOTE_BYTES]
        self._note[: len(encoded)] = encoded
        cells[NOTE] = len(encoded)
        cells[PROGRESS] = int(fraction * MILLION)
        cells[PROGRESS_OF] = cells[STARTED_NS]

    def write_entry(self, entry: dict[str, Any], *, reserve_bytes: int = 0) -> bool:
        """Keep `entry`, so that the supervisor can settle the batch if this worker is killed.

        Return False if there is no room for it and `reserve_bytes` more.
        """
        line = orjson.dumps(entry) + b"\n"
        at = self._cells[JOURNAL]
        if at + len(line) + reserve_bytes > JOURNAL_BYTES:
            return False
        self._journal[at : at + len(line)] = line
        self._cells[JOURNAL] = at + len(line)
        return True

    # -- read by the supervisor

    def current(self) -> tuple[UUID, list[int]]:
        """Return the token and the job ids of the current batch, no ids if there is no batch."""
        count = self._cells[COUNT]
        return UUID(bytes=bytes(self._token)), list(self._cells[IDS : IDS + count])

    def current_run(self) -> CurrentRun | None:
        """Return the run in progress, or None."""
        cells = self._cells
        ended = cells[ENDED]
        if cells[COUNT] > ended and cells[STARTED] > ended:
            return CurrentRun(cells[IDS + ended], cells[STARTED_NS])
        return None

    def unsettled(self) -> UnsettledBatch | None:
        """Return the batch that the worker has not settled, or None.

        If code in C has written over the entries, no job counts as ended.
        """
        token, ids = self.current()
        if not ids:
            return None
        cells = self._cells
        started, ended = cells[STARTED], cells[ENDED]
        entries, is_whole = _parse_entries(self._journal[: cells[JOURNAL]])
        return UnsettledBatch(
            token=token,
            ended=ids[:ended] if is_whole else [],
            entries=entries,
            current=ids[ended] if started > ended else None,
            started_ns=cells[STARTED_NS],
            unstarted=ids[max(started, ended) :],
            baseline=self.baseline(),
            progress=self.progress(),
        )

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries written since the batch began, or since the worker started."""
        return _parse_entries(self._journal[: self._cells[JOURNAL]])[0]

    def baseline(self) -> Baseline:
        """Return the worker's CPU time and output when the current run started."""
        cells = self._cells
        return Baseline(cells[CPU_NS], (cells[STDOUT_AT], cells[STDERR_AT]))

    def progress(self) -> Progress | None:
        """Return the progress of the current run, or None if it has reported none."""
        cells = self._cells
        if not cells[PROGRESS_OF] or cells[PROGRESS_OF] != cells[STARTED_NS]:
            return None
        note = bytes(self._note[: cells[NOTE]]).decode("utf-8", "ignore")
        return Progress(cells[PROGRESS] / MILLION, note.replace("\0", ""))

    def seconds_with_unstarted_jobs(self) -> float:
        """Return how long the batch has run if jobs of it have not started yet, else 0."""
        if self._cells[COUNT] <= self._cells[STARTED]:
            return 0.0
        return (time.monotonic_ns() - self._cells[BATCH_NS]) / 1e9


def _parse_entries(journal: memoryview) -> tuple[list[dict[str, Any]], bool]:
    """Return the entries that can be read, and whether these are all."""
    lines = [line for line in bytes(journal).splitlines() if line]
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(orjson.loads(line))
    return found, len(found) == len(lines)


class _Flag:
    """A cell of a row that is 0 or 1, as an attribute of the row."""

    def __init__(self, cell: int) -> None:
        self._cell = cell

    def __get__(self, row: "ScoreboardRow", owner: type) -> bool:
        return bool(row.cells[self._cell])

    def __set__(self, row: "ScoreboardRow", value: bool) -> None:
        row.cells[self._cell] = value


class ScoreboardRow:
    """The row of one worker slot. It needs no lock, because each cell has one writer at a time.

    `is_woken`: a wakeup was sent that the worker has not read. `is_stopping`: the worker was asked
    to exit after its current job. `has_database_fault`: the database keeps refusing this worker.
    """

    is_woken = _Flag(WOKEN)
    is_stopping = _Flag(STOP)
    has_database_fault = _Flag(FAULT)

    def __init__(self, memory: memoryview) -> None:
        self.cells = memory[:NOTE_AT].cast("q")
        self.batch = BatchRecord(self.cells, memory)
        self.stdout = _stream_record(self.cells, STDOUT, memory, STDOUT_END_AT)
        self.stderr = _stream_record(self.cells, STDERR, memory, STDERR_END_AT)

    def clear(self) -> None:
        """Make the row ready for a new worker."""
        for cell in range(IDS):
            self.cells[cell] = 0

    @property
    def phase(self) -> int:
        """The worker's `Phase`."""
        return self.cells[PHASE]

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self.cells[PHASE] = phase

    @property
    def backend(self) -> int:
        """The pid of the server process that serves this worker, or 0."""
        return self.cells[BACKEND]

    @backend.setter
    def backend(self, pid: int) -> None:
        self.cells[BACKEND] = pid

    @property
    def settled_batches(self) -> int:
        """How many batches this worker has settled."""
        return self.cells[SETTLED]

    @property
    def lost_leases(self) -> int:
        """How many batches it could not settle because another supervisor had rescued them."""
        return self.cells[LOST]

    def count_lost_lease(self) -> None:
        """Count a batch whose lease was lost."""
        self.cells[LOST] += 1

    @property
    def claims(self) -> Claims:
        """How many of its claims found jobs, and how many found none."""
        return Claims(self.cells[FOUND], self.cells[EMPTY])

    def count_claim(self, *, found: bool) -> None:
        """Count a claim."""
        self.cells[FOUND if found else EMPTY] += 1


def _stream_record(cells: memoryview, cell: int, memory: memoryview, end_at: int) -> StreamRecord:
    return StreamRecord(cells[cell : cell + 2], memory[end_at : end_at + TAIL_BYTES])


class Scoreboard:
    """The rows of all workers, in a memfd: it has no name, and is freed with its last process."""

    def __init__(self, row_count: int, fd: int | None = None) -> None:
        size = TABLE_BYTES + row_count * ROW_BYTES
        self.row_count = row_count
        self.fd = os.memfd_create("taskmaster-scoreboard") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self._memory = memoryview(mmap.mmap(self.fd, size))
        self._table = self._memory[:TABLE_BYTES].cast("q")

    def row(self, index: int) -> ScoreboardRow:
        """Return the row of the worker slot with this index, from 0."""
        at = TABLE_BYTES + index * ROW_BYTES
        return ScoreboardRow(self._memory[at : at + ROW_BYTES])

    @property
    def notified_until_ns(self) -> int:
        """The monotonic time until which puts notify."""
        return self._table[0]

    @notified_until_ns.setter
    def notified_until_ns(self, value: int) -> None:
        self._table[0] = value
