"""Counts that outlive the process that counted: prometheus-client's multiprocess mode, one set of files per number.

A worker writes to the files of its number; when it is dead, its successor has the number and goes on where it stopped.
So there are as many files as there are workers at once, and a SIGKILL loses nothing. What callbacks count with
prometheus-client of their own goes the same way; what their children count is not kept, for a file has one writer.
"""

import os
from pathlib import Path

import prometheus_client.values
from prometheus_client.mmap_dict import MmapedDict

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's name for it
UNREADABLE = ".unreadable"

_number = "template"  # nobody counts before the fork, but metrics made there enter their zeros


def _identifier() -> str:
    return _number


def prepare(directory: str) -> None:
    """Before any metric is made: count in files in `directory`."""
    os.environ[DIRECTORY] = directory
    os.unsetenv(
        DIRECTORY
    )  # prometheus-client here still sees it; the programs that callbacks start do not
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(_identifier)  # type: ignore[no-untyped-call]


def become(number: int, directory: str) -> None:
    """After the fork: count in the files of this number. One that cannot be read is put aside: begin it anew."""
    global _number
    _number = str(number)
    for file in Path(directory).glob(f"*_{number}.db"):
        if not readable(file):
            file.rename(file.with_suffix(UNREADABLE))
    os.register_at_fork(after_in_child=_write_nothing)


def _write_nothing() -> None:
    """In a child of a callback's: its memory of the files is shared with the worker, who goes on writing there."""
    MmapedDict.read_value = lambda self, key: (0.0, 0.0)  # type: ignore[method-assign]
    MmapedDict.write_value = lambda self, key, value, timestamp: None  # type: ignore[method-assign]


def readable(file: Path) -> bool:
    """Can what is in it be read?"""
    try:
        list(MmapedDict.read_all_values_from_file(str(file)))  # type: ignore[no-untyped-call]
    except FileNotFoundError:  # somebody has put it aside
        return False
    except Exception:  # noqa: BLE001 — whatever a torn file leads the reader into
        return False
    return True
