"""The metrics that all workers have counted, running or exited, merged from their files."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from taskmaster.processes.ipc.prometheus_files import UNREADABLE, is_readable


class WorkerMetrics:
    """The files of one directory. A file that cannot be read is left out, and counted."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def families(self) -> Iterator[Metric]:
        """Yield the merged metrics, and the number of files that could not be read."""
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


def _merge(files: list[str]) -> list[Metric]:
    return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
