"""Memory and CPU time of a process, as the kernel reports them."""

import resource
import time
from pathlib import Path

MIB = 1024 * 1024


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes, or 0 if it has exited."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def cpu_ns(pid: int) -> int:
    """Return the CPU time that a process has used, in nanoseconds.

    The clock id is computed as clock_getcpuclockid(3) does. Raises OSError if the process has
    exited.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)
