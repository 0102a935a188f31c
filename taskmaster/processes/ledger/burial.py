"""What becomes of the batch of a dead worker: from its slot to endings. Pure policy."""

from collections.abc import Mapping, Sequence
from typing import Any

from taskmaster.endings import Crash, Ending, Failure, Run, crashed, cut_off, released
from taskmaster.job import State
from taskmaster.processes.ledger.death import Death
from taskmaster.processes.shared.failures import Used, failure
from taskmaster.processes.shared.scoreboard import UnsettledBatch

Counts = Mapping[int, tuple[int, int]]


def endings(death: Death, unsettled_batch: UnsettledBatch, counts: Counts) -> list[Ending]:
    """How the jobs of the batch end: those that had ended as they did, the running one charged, the others given back.

    `counts`: of each job that the lease still holds, its runs and crashes before this run.
    """
    found = [restored(entry) for entry in unsettled_batch.entries]
    found += map(released, unsettled_batch.unstarted)
    noted = any(
        ending.id == unsettled_batch.running for ending in found
    )  # it had ended, and died before it could say so
    if unsettled_batch.running is not None and unsettled_batch.running in counts and not noted:
        found.append(broken_off(death, unsettled_batch, *counts[unsettled_batch.running]))
    return found


def crashes(death: Death, unsettled_batch: UnsettledBatch, found: Sequence[Ending]) -> list[Crash]:
    """The run that ended with its worker, when it was charged for that."""
    return [
        Crash(ending.id, death.consumer.queue_name, ending.state == State.REJECTED, ending.failure)
        for ending in found
        if ending.id == unsettled_batch.running and ending.crashed and ending.failure is not None
    ]


def restored(entry: Mapping[str, Any]) -> Ending:
    """An ending as the worker wrote it into its slot."""
    return Ending(**{**entry, "state": State(entry["state"])})


def broken_off(death: Death, unsettled_batch: UnsettledBatch, runs: int, crashes: int) -> Ending:
    """How the job ends that ran when its worker died."""
    assert unsettled_batch.running is not None
    run = Run(unsettled_batch.running, runs + 1, crashes)
    if death.cut_off:
        message = f"worker {death.worker} (pid {death.pid}) was stopped while it ran"
        return cut_off(
            run, death.consumer, record(death, unsettled_batch, "shutdown", message, run.run)
        )
    if death.excess is None:
        message = f"worker {death.worker} (pid {death.pid}) died under it: {death.cause}"
        return crashed(
            run, death.consumer, record(death, unsettled_batch, death.cause, message, run.run)
        )
    message = f"{death.excess.sentence}: worker {death.worker} (pid {death.pid}) was killed"
    return crashed(
        run,
        death.consumer,
        record(death, unsettled_batch, death.excess.cause, message, run.run),
        certain=True,
    )


def record(
    death: Death, unsettled_batch: UnsettledBatch, cause: str, message: str, run: int
) -> Failure:
    stdout, stderr = death.printed
    cpu = (death.usage.cpu_ns - unsettled_batch.cpu_began_ns) / 1e9
    return failure(
        cause,
        message,
        run=run,
        worker=death.worker,
        duration_seconds=(death.died_ns - unsettled_batch.running_since_ns) / 1e9,
        used=Used(cpu, death.usage.peak_mb, stdout, stderr, unsettled_batch.progress),
        traceback=death.stack,
    )
