"""The open descriptors of a process, which may close some or exit during the look."""

import os
from pathlib import Path


def open_descriptors(pid: int) -> dict[int, str]:
    """Return what each descriptor of a process refers to. Empty if the process is gone."""
    found = {}
    try:
        fds = [int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return {}
    for fd in fds:
        try:
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")  # noqa: PTH115 — it is no path
        except OSError:  # closed since it was listed
            continue
    return found
