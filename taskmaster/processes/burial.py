"""What becomes of the batch of a dead worker: from its slot to endings. Pure policy."""

import os
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.endings import Ending, Run, crashed, released
from taskmaster.job import State
from taskmaster.processes.failures import failure
from taskmaster.processes.limits import Excess
from taskmaster.processes.slots import Remains


class Usage(NamedTuple):
    """What a process has used in its life, as the kernel says when it is waited for."""

    peak_mb: float = 0.0
    cpu_ns: int = 0


class Death(NamedTuple):
    """One worker's end. `cut_off`: the supervisor ended it, so nobody is charged. Times are monotonic.

    `excess`: the limit for which the supervisor ended it; `stack`: what it wrote of its stack then.
    """

    consumer: Consumer
    worker: str
    pid: int
    cause: str
    cut_off: bool
    remains: Remains | None
    died_ns: int
    usage: Usage = Usage()
    excess: Excess | None = None
    stack: str | None = None


def cause(status: int) -> str:
    """A wait status in words: `exit code 3`, `signal SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def endings(death: Death, remains: Remains, counts: Mapping[int, tuple[int, int]]) -> list[Ending]:
    """How the jobs of the batch end: those that had ended as they did, the running one charged, the others given back.

    `counts`: of each job that the lease still holds, its runs and crashes before this run.
    """
    found = [restored(entry) for entry in remains.entries]
    found += map(released, remains.unstarted)
    if remains.running is not None and remains.running in counts:
        found.append(released(remains.running) if death.cut_off else charged(death, remains, *counts[remains.running]))
    return found


def restored(entry: Mapping[str, Any]) -> Ending:
    """An ending as the worker wrote it into its slot."""
    return Ending(**{**entry, "state": State(entry["state"])})


def charged(death: Death, remains: Remains, runs: int, crashes: int) -> Ending:
    assert remains.running is not None
    excess = death.excess
    message = f"worker {death.worker} (pid {death.pid}) died under it: {death.cause}"
    record = failure(
        "crash" if excess is None else excess.cause,
        message if excess is None else f"{excess.sentence}: worker {death.worker} (pid {death.pid}) was killed",
        run=runs + 1,
        worker=death.worker,
        duration_seconds=(death.died_ns - remains.running_since_ns) / 1e9,
        traceback=death.stack,
    )
    record |= {
        "cause": death.cause,
        "peak_memory_mb": round(death.usage.peak_mb, 1),
        "cpu_seconds": round(max(0, death.usage.cpu_ns - remains.cpu_began_ns) / 1e9, 3),
    }
    run = Run(remains.running, runs + 1, crashes)
    return crashed(run, death.consumer, record, certain=excess is not None)
