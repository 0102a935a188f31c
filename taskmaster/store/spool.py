"""The rows of a bulk put, encoded before they are sent.

The caller's generator may be slow, so no transaction is open and no lock is held while it runs.
Some rows wait in memory, and the rest in a file without a name.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

from taskmaster.errors import TaskmasterError

Content = tuple[bytes, bytes | None]  # the payload and the headers, as JSON

PART_ROWS = 5_000
PART_BYTES = 4 * 1024 * 1024
PARTS_IN_MEMORY = 4


@dataclass(slots=True)
class Spool:
    """Rows in parts that are sent one by one. `counts` are the rows of each part in the file."""

    in_memory: list[Sequence[bytes]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    file: IO[bytes] | None = None

    def add(self, rows: Sequence[bytes]) -> None:
        """Keep one more part. Raises OSError."""
        if len(self.in_memory) < PARTS_IN_MEMORY:
            self.in_memory.append(rows)
            return
        if self.file is None:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 — `spool` closes it
        self.file.writelines(rows)
        self.counts.append(len(rows))

    def parts(self) -> Iterator[Sequence[bytes]]:
        """Yield the parts in their order."""
        yield from self.in_memory
        if self.file is not None:
            self.file.seek(0)
            for count in self.counts:
                yield list(islice(self.file, count))


@contextmanager
def spool(contents: Iterable[Content]) -> Iterator[Spool]:
    """Read and encode the rows, and yield them.

    Raises TaskmasterError if the directory for temporary files has no room.
    """
    kept = Spool()
    try:
        for rows in _parts(contents):
            _add(kept, rows)
        yield kept
    finally:
        if kept.file is not None:
            kept.file.close()


def _add(kept: Spool, rows: Sequence[bytes]) -> None:
    try:
        kept.add(rows)
    except OSError as error:
        raise TaskmasterError(
            f"the payloads of put_many do not fit into {tempfile.gettempdir()} "
            f"({error.strerror}): make room, set TMPDIR, or put fewer at once"
        ) from None


def _parts(contents: Iterable[Content]) -> Iterator[Sequence[bytes]]:
    """Yield rows by the part. A row is what COPY's text format has of headers and payload."""
    rows: list[bytes] = []
    size, headers, escaped = 0, None, b"\\N"
    for payload, own_headers in contents:
        if own_headers is not headers:
            headers, escaped = own_headers, _escape_headers(own_headers)
        row = b"%b\t%b\n" % (escaped, payload.replace(b"\\", b"\\\\"))
        rows.append(row)
        size += len(row)
        if size >= PART_BYTES or len(rows) == PART_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _escape_headers(headers: bytes | None) -> bytes:
    return b"\\N" if headers is None else headers.replace(b"\\", b"\\\\")
