"""The metrics that all workers have counted, running or exited, merged from their files."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from taskmaster.processes.ipc.prometheus_files import UNREADABLE, is_readable
from taskmaster.processes.system.shortage import reason_of, shortages

ROOM_BYTES = 4096  # a new file takes this much


class WorkerMetrics:
    """The files of one directory. A file that cannot be read is left out, and counted."""

    def __init__(self, directory: str | None) -> None:
        self._directory = None if directory is None else Path(directory)

    def families(self) -> Iterator[Metric]:
        """Yield the merged metrics, and the number of files that could not be read.

        Without a directory there are none.
        """
        if self._directory is None:
            return
        self._warn_if_full(self._directory)
        # The template's gauges were set before the fork, so they describe no worker.
        files = sorted(
            str(file)
            for file in self._directory.glob("*.db")
            if not file.match("gauge_*_template.db")
        )
        try:
            merged = _merge(files)
            unreadable = 0
        except Exception:  # noqa: BLE001 — a torn file may raise any error: find out which it is
            good = [file for file in files if is_readable(Path(file))]
            merged, unreadable = _merge(good), len(files) - len(good)
        yield from merged
        set_aside = sum(1 for _ in self._directory.glob(f"*{UNREADABLE}"))
        yield CounterMetricFamily(
            "taskmaster_unreadable_metric_files",
            "Number of damaged metric files, whose counts are left out.",
            value=unreadable + set_aside,
        )

    def _warn_if_full(self, directory: Path) -> None:
        """Log that the workers cannot count in new files. They go on, and keep their counts."""
        try:
            space = os.statvfs(directory)
            is_full, reason = space.f_bavail * space.f_frsize < ROOM_BYTES, "no space left"
        except OSError as error:
            is_full, reason = True, reason_of(error)
        if is_full:
            shortages.warn(f"metrics of the workers not written to {directory}", reason)


def _merge(files: list[str]) -> list[Metric]:
    return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
