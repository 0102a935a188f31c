"""What the workers have counted, dead or alive, merged from their files."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from taskmaster.processes.shared.prometheus_files import readable


class Counted:
    """The files of one directory. One that cannot be read is left out, and counted."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def families(self) -> Iterator[Metric]:
        # What the template says of gauges is said before the fork, of nobody.
        files = sorted(
            str(file)
            for file in self._directory.glob("*.db")
            if not file.match("gauge_*_template.db")
        )
        try:
            merged = _merged(files)
            unreadable = 0
        except Exception:  # noqa: BLE001 — whatever a torn file leads the reader into: find out which it is
            good = [file for file in files if readable(Path(file))]
            merged, unreadable = _merged(good), len(files) - len(good)
        yield from merged
        put_aside = sum(1 for _ in self._directory.glob("*.unreadable"))
        yield CounterMetricFamily(
            "taskmaster_unreadable_metric_files",
            "Number of workers' metric files that could not be read.",
            value=unreadable + put_aside,
        )


def _merged(files: list[str]) -> list[Metric]:
    return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
