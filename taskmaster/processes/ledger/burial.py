"""What becomes of the batch of a dead worker: from its slot to endings. Pure policy."""

from collections.abc import Mapping, Sequence
from typing import Any

from taskmaster.endings import Crash, Ending, Failure, Run, crashed, cut_off, released
from taskmaster.job import State
from taskmaster.processes.ledger.death import Death
from taskmaster.processes.shared.failures import Used, failure
from taskmaster.processes.shared.slots import Remains

Counts = Mapping[int, tuple[int, int]]


def endings(death: Death, remains: Remains, counts: Counts) -> list[Ending]:
    """How the jobs of the batch end: those that had ended as they did, the running one charged, the others given back.

    `counts`: of each job that the lease still holds, its runs and crashes before this run.
    """
    found = [restored(entry) for entry in remains.entries]
    found += map(released, remains.unstarted)
    noted = any(
        ending.id == remains.running for ending in found
    )  # it had ended, and died before it could say so
    if remains.running is not None and remains.running in counts and not noted:
        found.append(broken_off(death, remains, *counts[remains.running]))
    return found


def crashes(death: Death, remains: Remains, found: Sequence[Ending]) -> list[Crash]:
    """The run that ended with its worker, when it was charged for that."""
    return [
        Crash(ending.id, death.consumer.queue_name, ending.state == State.REJECTED, ending.failure)
        for ending in found
        if ending.id == remains.running and ending.crashed and ending.failure is not None
    ]


def restored(entry: Mapping[str, Any]) -> Ending:
    """An ending as the worker wrote it into its slot."""
    return Ending(**{**entry, "state": State(entry["state"])})


def broken_off(death: Death, remains: Remains, runs: int, crashes: int) -> Ending:
    """How the job ends that ran when its worker died."""
    assert remains.running is not None
    run = Run(remains.running, runs + 1, crashes)
    if death.cut_off:
        message = f"worker {death.worker} (pid {death.pid}) was stopped while it ran"
        return cut_off(run, death.consumer, record(death, remains, "shutdown", message, run.run))
    if death.excess is None:
        message = f"worker {death.worker} (pid {death.pid}) died under it: {death.cause}"
        return crashed(run, death.consumer, record(death, remains, death.cause, message, run.run))
    message = f"{death.excess.sentence}: worker {death.worker} (pid {death.pid}) was killed"
    return crashed(
        run,
        death.consumer,
        record(death, remains, death.excess.cause, message, run.run),
        certain=True,
    )


def record(death: Death, remains: Remains, cause: str, message: str, run: int) -> Failure:
    stdout, stderr = death.printed
    cpu = (death.usage.cpu_ns - remains.cpu_began_ns) / 1e9
    return failure(
        cause,
        message,
        run=run,
        worker=death.worker,
        duration_seconds=(death.died_ns - remains.running_since_ns) / 1e9,
        used=Used(cpu, death.usage.peak_mb, stdout, stderr, remains.progress),
        traceback=death.stack,
    )
