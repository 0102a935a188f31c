"""Metric files that survive their worker: prometheus-client's multiprocess mode, by worker number.

The template calls `prepare`, each worker calls `become`, and the exporter reads the files. A worker
writes to the files of its number. When it exits, its successor takes over the number and continues
the counts. So the number of files is bounded, and a SIGKILL loses no count. Metrics that callbacks
make with prometheus-client are kept likewise. What the children of callbacks count is not kept,
because a file has one writer.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import prometheus_client.values
from prometheus_client.mmap_dict import MmapedDict

from taskmaster.processes.ipc.metric_file import MetricFile

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's name for it
UNREADABLE = ".unreadable"

_number = "template"  # before the fork nothing is counted, but new metrics write their zeros


def _identifier() -> str:
    return _number


def prepare(directory: str) -> None:
    """Count in files in `directory`. Call this before any metric is made."""
    values = prometheus_client.values
    # It reads the directory whenever it opens a file. It gets an environment of its own, because
    # programs that callbacks start with a copy of os.environ would count in the same directory.
    own = SimpleNamespace(environ={DIRECTORY: directory}, path=os.path)
    values.os = own  # type: ignore[attr-defined, assignment]
    values.MmapedDict = MetricFile  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue(_identifier)  # type: ignore[no-untyped-call]


def become(number: int, directory: str) -> None:
    """Count in the files of this worker number. Call this after the fork.

    A file that cannot be read is set aside, and a new one is begun.
    """
    global _number
    _number = str(number)
    for file in Path(directory).glob(f"*_{number}.db"):
        if not is_readable(file):
            file.rename(file.with_suffix(UNREADABLE))
    os.register_at_fork(after_in_child=_write_nothing)


def _write_nothing() -> None:
    """Stop counting in a child of a callback: it shares the files' memory with the worker."""
    MetricFile.read_value = lambda self, key: (0.0, 0.0)  # type: ignore[method-assign]
    MetricFile.write_value = lambda self, key, value, timestamp: None  # type: ignore[method-assign]


def is_readable(file: Path) -> bool:
    """Return whether the counts in a file can be read."""
    try:
        list(MmapedDict.read_all_values_from_file(str(file)))  # type: ignore[no-untyped-call]
    except FileNotFoundError:  # it was set aside by another process
        return False
    except Exception:  # noqa: BLE001 — a torn file may raise any error
        return False
    return True
