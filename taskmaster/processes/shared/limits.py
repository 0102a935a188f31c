"""What a running job may use: the timeout raised inside of it, and limits that the supervisor watches from outside."""

import faulthandler
import os
import resource
import signal
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.errors import JobTimeout
from taskmaster.job import Job, Outcome
from taskmaster.middleware import Handler
from taskmaster.processes.shared.scoreboard import CPU_BEGAN, STARTED_AT, ScoreboardRow

DUMP = (
    signal.SIGRTMIN + 10
)  # asks a worker for its stack; a callback is free to use SIGUSR1 and the like
MAX_STACK = 16_000
MIB = 1024 * 1024
TIMEOUT, MEMORY, CPU = "timeout", "memory limit", "cpu limit"


# -- inside the worker


def with_timeout(handler: Handler, seconds: float) -> Handler:
    """Raise JobTimeout in `handler` when a job runs for longer. Code stuck in C sees it only when it returns."""
    armed = False

    def raise_timeout(number: int, frame: FrameType | None) -> None:
        if armed:  # another thread may have received it a moment too late
            raise JobTimeout(f"the job ran for longer than timeout_seconds ({seconds:g} s)")

    def limited(job: Job) -> Outcome:
        nonlocal armed
        signal.signal(signal.SIGALRM, raise_timeout)  # each time: a callback may have changed it
        armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return handler(job)
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    return limited


def prepare_worker(consumer: Consumer, stack_fd: int) -> None:
    """Have the worker write its stack when asked to, even out of C code; and bound its address space as a backstop."""
    faulthandler.register(DUMP, file=stack_fd, all_threads=True)
    if consumer.memory_limit_mb is not None:
        most = _mapped_bytes() + 2 * consumer.memory_limit_mb * MIB
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(
            resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
        )


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# -- in the supervisor


class Excess(NamedTuple):
    """A limit that a run exceeds. `job` is the job's id and `began_ns` when this run of it began, for the next may come
    soon; `cause` and `sentence` say what for its failure record.
    """

    job: int
    began_ns: int
    cause: str
    sentence: str


def excess(consumer: Consumer, pid: int, row: ScoreboardRow) -> Excess | None:
    """The limit that the job running in a worker exceeds, if it does."""
    run = row.run()
    found = None if run is None else _exceeded(consumer, pid, row)
    # Looked at again: it may have ended, and another begun, while its figures were read.
    return (
        Excess(*run, *found) if run is not None and found is not None and row.run() == run else None
    )


def _exceeded(consumer: Consumer, pid: int, row: ScoreboardRow) -> tuple[str, str] | None:
    timeout, memory, cpu = (
        consumer.timeout_seconds,
        consumer.memory_limit_mb,
        consumer.cpu_limit_seconds,
    )
    if timeout is not None:
        ran = (time.monotonic_ns() - row.cells[STARTED_AT]) / 1e9
        if ran > timeout + consumer.kill_after_seconds:
            return (
                TIMEOUT,
                f"still running {ran - timeout:.1f} s after timeout_seconds ({timeout:g} s)",
            )
    if memory is not None and (resident := resident_bytes(pid)) > memory * MIB:
        return MEMORY, f"its worker has {resident // MIB} MiB resident, memory_limit_mb is {memory}"
    if cpu is not None and (used := cpu_seconds(pid, row)) > cpu:
        return CPU, f"it has used {used:.1f} s of CPU, cpu_limit_seconds is {cpu:g}"
    return None


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int, row: ScoreboardRow) -> float:
    """CPU used by a worker since its job began; 0 when it is gone. The clock is that of clock_getcpuclockid(3)."""
    try:
        return (time.clock_gettime_ns((~pid << 3) | 2) - row.cells[CPU_BEGAN]) / 1e9
    except OSError:
        return 0.0


def read_stack(stack_fd: int) -> str | None:
    """What a worker has written of its stack; None: nothing."""
    return os.pread(stack_fd, MAX_STACK, 0).decode("utf-8", "replace").strip() or None
