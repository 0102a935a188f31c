"""Create the `WorkerExit` from the slot of a worker that was reaped."""

import time

from taskmaster.processes.ipc.scoreboard import Phase
from taskmaster.processes.ipc.stack_dump import read_stack
from taskmaster.processes.supervisor.exits.cause import IN_ORDER, exit_reason
from taskmaster.processes.supervisor.exits.worker_exit import (
    LimitExceeded,
    Shutdown,
    Usage,
    WorkerExit,
)
from taskmaster.processes.supervisor.pool.slot import WorkerSlot


def worker_exit_of(slot: WorkerSlot, cause: str, usage: Usage) -> WorkerExit:
    """Return the exit, with what the worker left in its row, stack file and output."""
    process, batch = slot.process, slot.row.batch.unsettled()
    assert process is not None
    printed = ("", "")
    if batch is not None:
        printed = process.output.tails(batch.baseline.output_offsets)
    return WorkerExit(
        consumer=slot.consumer,
        worker=process.name,
        pid=process.pid or 0,
        reason=exit_reason(cause, batch, limit=process.limit, was_cut_off=process.is_cut_off),
        batch=batch,
        exited_ns=time.monotonic_ns(),
        usage=usage,
        stack=read_stack(process.stack_fd),
        printed=printed,
        backend=slot.row.backend,
        claims=slot.row.claims,
        lost_leases=slot.row.lost_leases,
    )


def was_useful(slot: WorkerSlot, worker_exit: WorkerExit) -> bool:
    """Return whether the worker did useful work, so that its slot is filled without backoff."""
    if isinstance(worker_exit.reason, LimitExceeded) or slot.row.settled_batches > 0:
        return True
    was_up = slot.row.phase != Phase.BOOTING
    return was_up and (isinstance(worker_exit.reason, Shutdown) or worker_exit.cause == IN_ORDER)
