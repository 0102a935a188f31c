"""The policy for the batch of a worker that exited: from its scoreboard row to settlements.

It is pure: it uses no clock, no database and no process. The reasons for an exit are in
worker_exit.py.
"""

from collections.abc import Mapping, Sequence

from taskmaster.failure import Failure, Used, make_failure
from taskmaster.job import State
from taskmaster.middleware import CrashReport
from taskmaster.processes.ipc.scoreboard import UnsettledBatch
from taskmaster.processes.supervisor.exits.worker_exit import (
    LimitExceeded,
    Shutdown,
    WorkerExit,
)
from taskmaster.settlement import Run, Settlement, for_crash, for_interruption, from_entry, release

RunsAndCrashes = tuple[int, int]


def settlements(
    worker_exit: WorkerExit, batch: UnsettledBatch, counts: Mapping[int, RunsAndCrashes]
) -> list[Settlement]:
    """Return the settlements of the jobs of the batch. Jobs without one are acked.

    Jobs that had ended are settled as they ended. The current job is settled by the reason of the
    exit. Jobs that had not started are released. `counts` holds the runs and crashes before this
    run, for each job that the lease still holds. A job of it that the row does not name is
    interrupted, and never acked.
    """
    found, ended = _written_endings(batch)
    # The worker may have been killed after it wrote the settlement of its current job and before it
    # noted the end of the run.
    has_ended = any(settlement.id == batch.current for settlement in found)
    found += map(release, batch.unstarted)
    if batch.current is not None and batch.current in counts and not has_ended:
        runs, crashes = counts[batch.current]
        run = Run(batch.current, runs + 1, crashes)
        found.append(_settle_current(worker_exit, batch, run))
    unnamed = counts.keys() - ended - {settlement.id for settlement in found}
    found += [_settle_unnamed(worker_exit, batch, job_id, counts[job_id]) for job_id in unnamed]
    return found


def _written_endings(batch: UnsettledBatch) -> tuple[list[Settlement], Sequence[int]]:
    """Return the settlements that the worker has written, and the jobs that had ended.

    If one of them names no state that we know, none of the endings can be trusted.
    """
    try:
        return [from_entry(entry) for entry in batch.entries], batch.ended
    except (KeyError, TypeError, ValueError):
        return [], ()


def crash_reports(
    worker_exit: WorkerExit, batch: UnsettledBatch, found: Sequence[Settlement]
) -> list[CrashReport]:
    """Return a crash report if the current run was charged a crash, else nothing."""
    return [
        CrashReport(
            job=settlement.id,
            queue_name=worker_exit.consumer.queue_name,
            rejected=settlement.state == State.REJECTED,
            failure=settlement.failure,
        )
        for settlement in found
        if settlement.id == batch.current and settlement.crashed and settlement.failure is not None
    ]


def _settle_current(worker_exit: WorkerExit, batch: UnsettledBatch, run: Run) -> Settlement:
    consumer, who = worker_exit.consumer, f"worker {worker_exit.worker} (pid {worker_exit.pid})"
    match worker_exit.reason:
        case Shutdown():
            record = _record(worker_exit, batch, run, "shutdown", f"{who} was stopped while it ran")
            return for_interruption(run, consumer, record)
        case LimitExceeded(cause=cause, sentence=sentence):
            record = _record(worker_exit, batch, run, cause, f"{sentence}: {who} was killed")
            return for_crash(run, consumer, record, certain=True)
        case reason:
            record = _record(
                worker_exit, batch, run, reason.cause, f"{who} ended while it ran: {reason.cause}"
            )
            return for_crash(run, consumer, record)


def _settle_unnamed(
    worker_exit: WorkerExit, batch: UnsettledBatch, job_id: int, counts: RunsAndCrashes
) -> Settlement:
    """Settle a job whose end is unknown because its worker's row was damaged."""
    run = Run(job_id, counts[0] + 1, counts[1])
    message = f"the row of worker {worker_exit.worker} does not say how this run ended"
    record = _record(worker_exit, batch, run, worker_exit.cause, message)
    return for_interruption(run, worker_exit.consumer, record)


def _record(
    worker_exit: WorkerExit, batch: UnsettledBatch, run: Run, cause: str, message: str
) -> Failure:
    stdout, stderr = worker_exit.printed
    cpu_seconds = (worker_exit.usage.cpu_ns - batch.baseline.cpu_ns) / 1e9
    return make_failure(
        cause,
        message,
        run=run.run,
        worker=worker_exit.worker,
        duration_seconds=(worker_exit.exited_ns - batch.started_ns) / 1e9,
        used=Used(
            cpu_seconds=cpu_seconds,
            peak_memory_mb=worker_exit.usage.peak_mb,
            stdout=stdout,
            stderr=stderr,
            progress=batch.progress,
        ),
        traceback=worker_exit.stack,
    )
