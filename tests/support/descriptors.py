"""What processes have open, as the kernel says it: descriptors and processes come and go while one looks."""

import os
from pathlib import Path


def opened(pid: int) -> dict[int, str]:
    """What each descriptor of a process stands for; empty when the process is gone."""
    found = {}
    try:
        fds = [int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return {}
    for fd in fds:
        try:
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")  # noqa: PTH115 — it is no path
        except OSError:  # closed meanwhile
            continue
    return found
