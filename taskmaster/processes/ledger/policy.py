"""What becomes of the batch of a dead worker: from its slot to endings. Pure policy."""

from collections.abc import Mapping, Sequence

from taskmaster.job import Failure, State
from taskmaster.middleware import CrashReport
from taskmaster.processes.ledger.worker_exit import WorkerExit
from taskmaster.processes.shared.failures import Used, failure
from taskmaster.processes.shared.scoreboard import UnsettledBatch
from taskmaster.settlement import Run, Settlement, crashed, cut_off, from_entry, released

Counts = Mapping[int, tuple[int, int]]


def settlements(
    worker_exit: WorkerExit, unsettled_batch: UnsettledBatch, counts: Counts
) -> list[Settlement]:
    """How the jobs of the batch end: those that had ended as they did, the running one charged, the others given back.

    `counts`: of each job that the lease still holds, its runs and crashes before this run.
    """
    found = [from_entry(entry) for entry in unsettled_batch.entries]
    found += map(released, unsettled_batch.unstarted)
    noted = any(
        settlement.id == unsettled_batch.running for settlement in found
    )  # it had ended, and died before it could say so
    if unsettled_batch.running is not None and unsettled_batch.running in counts and not noted:
        found.append(
            for_interrupted_run(worker_exit, unsettled_batch, *counts[unsettled_batch.running])
        )
    return found


def crashes(
    worker_exit: WorkerExit, unsettled_batch: UnsettledBatch, found: Sequence[Settlement]
) -> list[CrashReport]:
    """The run that ended with its worker, when it was charged for that."""
    return [
        CrashReport(
            job=settlement.id,
            queue_name=worker_exit.consumer.queue_name,
            rejected=settlement.state == State.REJECTED,
            failure=settlement.failure,
        )
        for settlement in found
        if settlement.id == unsettled_batch.running
        and settlement.crashed
        and settlement.failure is not None
    ]


def for_interrupted_run(
    worker_exit: WorkerExit, unsettled_batch: UnsettledBatch, runs: int, crashes: int
) -> Settlement:
    """How the job ends that ran when its worker died."""
    assert unsettled_batch.running is not None
    run = Run(unsettled_batch.running, runs + 1, crashes)
    if worker_exit.cut_off:
        message = f"worker {worker_exit.worker} (pid {worker_exit.pid}) was stopped while it ran"
        return cut_off(
            run,
            worker_exit.consumer,
            record(worker_exit, unsettled_batch, "shutdown", message, run.run),
        )
    if worker_exit.excess is None:
        message = f"worker {worker_exit.worker} (pid {worker_exit.pid}) died under it: {worker_exit.cause}"
        return crashed(
            run,
            worker_exit.consumer,
            record(worker_exit, unsettled_batch, worker_exit.cause, message, run.run),
        )
    message = f"{worker_exit.excess.sentence}: worker {worker_exit.worker} (pid {worker_exit.pid}) was killed"
    return crashed(
        run,
        worker_exit.consumer,
        record(worker_exit, unsettled_batch, worker_exit.excess.cause, message, run.run),
        certain=True,
    )


def record(
    worker_exit: WorkerExit, unsettled_batch: UnsettledBatch, cause: str, message: str, run: int
) -> Failure:
    stdout, stderr = worker_exit.printed
    cpu = (worker_exit.usage.cpu_ns - unsettled_batch.cpu_began_ns) / 1e9
    return failure(
        cause,
        message,
        run=run,
        worker=worker_exit.worker,
        duration_seconds=(worker_exit.died_ns - unsettled_batch.running_since_ns) / 1e9,
        used=Used(cpu, worker_exit.usage.peak_mb, stdout, stderr, unsettled_batch.progress),
        traceback=worker_exit.stack,
    )
