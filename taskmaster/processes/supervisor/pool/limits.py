"""The limits that the supervisor enforces from outside: time, memory and CPU time.

A worker cannot enforce them itself while it is stuck in C.
"""

import logging
import math
import time
from collections.abc import Iterator

from taskmaster.consumer import Consumer
from taskmaster.processes.ipc.scoreboard import BatchRecord
from taskmaster.processes.supervisor.exits.worker_exit import LimitExceeded
from taskmaster.processes.supervisor.pool.slot import WorkerSlot, WorkerState
from taskmaster.processes.supervisor.pool.worker_process import WorkerProcess
from taskmaster.processes.system.proc import MIB, cpu_ns, resident_bytes
from taskmaster.processes.system.process_groups import kill_group

log = logging.getLogger("taskmaster.supervisor")

TIMEOUT, MEMORY, CPU = "timeout", "memory limit", "cpu limit"


def enforce_limits(slot: WorkerSlot, now: float) -> None:
    """Condemn a worker whose job exceeds a limit, and kill it once its stack is written."""
    process = slot.process
    if process is None or process.pid is None or not slot.consumer.has_limits:
        return
    if process.limit is not None:
        _carry_out(slot, process, process.limit, now)
    elif slot.state is WorkerState.BUSY:
        limit = exceeded_limit(slot.consumer, process.pid, slot.row.batch)
        if limit is not None:
            process.condemn(limit)


def kill_if_exit_hangs(slot: WorkerSlot, now: float, *, within_seconds: float) -> None:
    """Kill a worker that has left its loop and does not exit."""
    process = slot.process
    if process is None or slot.state is not WorkerState.EXITING:
        return
    if process.exit_by is None:
        process.exit_by = now + within_seconds
    elif now >= process.exit_by:
        process.exit_by = math.inf
        log.warning(
            "worker killed: worker=%s did not exit within %g s after its last job: "
            "the exit of its component or of a middleware hangs",
            process.name,
            within_seconds,
        )
        process.kill()


def exceeded_limit(consumer: Consumer, pid: int, batch: BatchRecord) -> LimitExceeded | None:
    """Return the limit that the current run of a worker exceeds, or None."""
    run = batch.current_run()
    if run is None:
        return None
    found = next(_excesses(consumer, pid, batch, run.started_ns), None)
    # Look again: while its usage was read, the job may have ended and another one begun.
    if found is None or batch.current_run() != run:
        return None
    cause, sentence = found
    return LimitExceeded(
        job_id=run.job_id, started_ns=run.started_ns, cause=cause, sentence=sentence
    )


def _carry_out(slot: WorkerSlot, process: WorkerProcess, limit: LimitExceeded, now: float) -> None:
    """Kill a condemned worker when it is time, or spare it if its job has ended."""
    assert process.pid is not None
    if slot.row.batch.current_run() != (limit.job_id, limit.started_ns):
        process.spare()
    elif process.has_had_time_for_stack(now):
        kill_group(process.pid)


def _excesses(
    consumer: Consumer, pid: int, batch: BatchRecord, started_ns: int
) -> Iterator[tuple[str, str]]:
    """Yield cause and sentence of each limit that the current run exceeds."""
    if (timeout := consumer.timeout_seconds) is not None:
        late = (time.monotonic_ns() - started_ns) / 1e9 - timeout
        if late > consumer.kill_after_seconds:
            yield TIMEOUT, f"still running {late:.1f} s after timeout_seconds ({timeout:g} s)"
    if (memory := consumer.memory_limit_mb) is not None:
        resident = resident_bytes(pid)
        if resident > memory * MIB:
            mib = resident // MIB
            yield MEMORY, f"its worker has {mib} MiB resident, memory_limit_mb is {memory}"
    if (cpu := consumer.cpu_limit_seconds) is not None:
        used = _cpu_seconds(pid, batch)
        if used > cpu:
            yield CPU, f"it has used {used:.1f} s of CPU, cpu_limit_seconds is {cpu:g}"


def _cpu_seconds(pid: int, batch: BatchRecord) -> float:
    """Return the CPU time that a worker has used since its run began, or 0 if it has exited."""
    try:
        return (cpu_ns(pid) - batch.baseline().cpu_ns) / 1e9
    except OSError:
        return 0.0
