"""A metric file whose worker survives when the file system is full.

prometheus-client writes into mapped files, and a write to a page that a full tmpfs cannot provide
ends the process with SIGBUS. So here the pages are allocated before they are mapped. While there
is no room, values stay in their worker: they are totals, so nothing is lost once there is room.
"""

import mmap
import os
import time
from struct import Struct
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

HEADER_BYTES = 8
ENTRY_BYTES = 4 + 8 + 16  # the length of a key, its padding, and value and time
SPARE_BYTES = 16  # at the end of the file, for the values that have no place yet
RETRY_SECONDS = 1.0
USED = Struct("i")


class _Places(dict[str, int]):
    """The places of the values, for a file without room: those without a place share a spare one.

    A plain dict takes its place while there is room, because it is faster: 0.17 µs a count against
    0.25.
    """

    def __init__(self, places: dict[str, int], spare: int) -> None:
        super().__init__(places)
        self.spare = spare

    def __missing__(self, key: str) -> int:
        return self.spare


class MetricFile(MmapedDict):
    """Takes the place of prometheus-client's class, and writes the same format."""

    _f: Any  # the file, or None while there is no room for it
    _m: Any  # the mapping, or a bytearray
    _positions: dict[str, int]

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._f = None
        self._fname = filename
        self._m = bytearray(SPARE_BYTES)
        self._capacity, self._used = SPARE_BYTES, 0
        self._positions = {}
        self._retry_at = 0.0
        self._has_room(0)

    def read_value(self, key: str) -> tuple[float, float]:
        """Return value and time, zeros for a value that has no place yet."""
        found: tuple[float, float] = super().read_value(key)  # type: ignore[no-untyped-call]
        return found if key in self._positions else (0.0, 0.0)

    def _init_value(self, key: str) -> None:
        """Give a value a place, if there is room."""
        if self._has_room(len(key.encode()) + ENTRY_BYTES) and key not in self._positions:
            super()._init_value(key)  # type: ignore[no-untyped-call]

    def _has_room(self, entry_bytes: int) -> bool:
        """Return whether an entry fits. Let the file grow if necessary, once a second at most."""
        if self._f is not None and self._used + entry_bytes + SPARE_BYTES <= self._capacity:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        try:
            self._grow(entry_bytes)
        except OSError:  # the exporter logs that the directory is full
            self._retry_at = now + RETRY_SECONDS
            self._positions = _Places(self._positions, self._capacity - SPARE_BYTES)
            return False
        return True

    def _grow(self, entry_bytes: int) -> None:
        """Allocate and map a larger file, and read it if that is the first time."""
        file = self._f or open(self._fname, "a+b")  # noqa: SIM115, PTH123 — it stays open
        is_first, size = self._f is None, os.fstat(file.fileno()).st_size
        try:
            used = _used_bytes(file.fileno()) if is_first else self._used
            capacity = max(mmap.PAGESIZE, size)
            while used + entry_bytes + SPARE_BYTES > capacity:
                capacity *= 2
            os.posix_fallocate(file.fileno(), 0, capacity)
            self._m = mmap.mmap(file.fileno(), capacity)
        except OSError:
            if is_first:
                file.close()
                _remove_if_empty(self._fname)
            raise
        self._f, self._capacity = file, capacity
        self._positions = dict(self._positions)
        if is_first:
            self._load()

    def _load(self) -> None:
        """Find the places of the values that a predecessor has counted."""
        self._used = max(HEADER_BYTES, USED.unpack_from(self._m)[0])
        self._m[: USED.size] = USED.pack(self._used)
        for key, _, _, place in self._read_all_values():  # type: ignore[no-untyped-call]
            self._positions[key] = place


def _used_bytes(fd: int) -> int:
    """Return how much of a file is in use, as it says in its first bytes."""
    header = os.pread(fd, USED.size, 0)
    return (
        max(HEADER_BYTES, int(USED.unpack(header)[0])) if len(header) == USED.size else HEADER_BYTES
    )


def _remove_if_empty(name: str) -> None:
    """Remove a file that was created and got no room. It would be taken for a damaged one."""
    if not os.stat(name).st_size:  # noqa: PTH116 — prometheus-client has names, no paths
        os.unlink(name)  # noqa: PTH108
