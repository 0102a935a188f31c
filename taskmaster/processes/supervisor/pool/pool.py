"""The worker pool: the slots of one configuration, and the workers in them."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from taskmaster.backoff import Backoff
from taskmaster.consumer import Consumer
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ipc import messages
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.supervisor.exits.cause import OomWatch
from taskmaster.processes.supervisor.exits.counters import Counters
from taskmaster.processes.supervisor.exits.worker_exit import Outbox, Shutdown, Usage, WorkerExit
from taskmaster.processes.supervisor.pool.exit_report import was_useful, worker_exit_of
from taskmaster.processes.supervisor.pool.limits import enforce_limits, kill_if_exit_hangs
from taskmaster.processes.supervisor.pool.recycle_permits import RecyclePermits
from taskmaster.processes.supervisor.pool.slot import WorkerSlot, WorkerState
from taskmaster.processes.supervisor.pool.worker_numbers import WorkerNumbers
from taskmaster.processes.supervisor.pool.worker_process import (
    STACK_SECONDS,
    WorkerProcess,
)
from taskmaster.processes.system.process_groups import kill_group
from taskmaster.processes.system.shortage import shortages

log = logging.getLogger("taskmaster.supervisor")

BOOT_LOOK_SECONDS = 0.02  # a worker that is up only notes it in its scoreboard row
# The output of a busy worker is passed on this much later at most. Limits are checked as often.
OUTPUT_LOOK_SECONDS = 0.1
EXIT_SECONDS = 3.0  # longer than the sentry and tracing middlewares take to send their last events


@dataclass(slots=True)
class WorkerPool:
    """All slots of one configuration. Exits and withdrawn jobs go to `outbox`.

    `failure` is None, or the reason in a sentence why more workers would fail too.
    """

    consumers: Sequence[Consumer]
    options: SupervisorOptions
    scoreboard: Scoreboard
    outbox: Outbox
    counters: Counters = field(default_factory=Counters)
    numbers: WorkerNumbers = field(default_factory=WorkerNumbers)
    slots: list[WorkerSlot] = field(default_factory=list)
    recycle_permits: RecyclePermits = field(init=False)
    oom_watch: OomWatch = field(default_factory=OomWatch)
    is_stopping: bool = False
    failure: str | None = None

    def __post_init__(self) -> None:
        self.recycle_permits = RecyclePermits(len(self.consumers))
        for consumer_index, consumer in enumerate(self.consumers):
            for _ in range(consumer.concurrency):
                index = len(self.slots)
                row = self.scoreboard.row(index)
                backoff = Backoff(
                    self.options.restart_base_seconds, self.options.restart_max_seconds
                )
                self.slots.append(WorkerSlot(index, consumer_index, consumer, row, backoff=backoff))

    def processes(self) -> Iterator[WorkerProcess]:
        """Return the workers that are ordered or running."""
        return (slot.process for slot in self.slots if slot.process is not None)

    def run_due(self, now: float) -> None:
        """Enforce limits, and withdraw the jobs that wait behind slow ones."""
        if not self.is_stopping:
            self.recycle_permits.refill(self.slots)
        self.oom_watch.run_due(now)
        for slot in self.slots:
            enforce_limits(slot, now)
            exit_seconds = max(EXIT_SECONDS, self.options.grace_seconds)
            kill_if_exit_hangs(slot, now, within_seconds=exit_seconds)
        slow = self.options.slow_after_seconds
        self._withdraw_jobs(slot for slot in self.slots if slot.has_jobs_waiting_for(slow))

    def next_due(self, now: float) -> float:
        """Return when a worker must be checked again."""
        slow = self.options.slow_after_seconds
        return min((_next_look(slot, now, slow) for slot in self.slots), default=math.inf)

    # -- forks and exits

    def on_forked(self, forked: messages.Forked) -> None:
        """Note the pid of a worker and let it begin, or kill it if it is not wanted any more."""
        slot = self._slot_of(lambda process: process.serial == forked.serial)
        if slot is None or slot.process is None:
            if forked.pid:
                kill_group(forked.pid)
            return
        slot.process.pid = forked.pid or None
        if not forked.pid:
            shortages.warn("worker not started", forked.reason)
            self._vacate(slot, lived_seconds=0.0)
        elif slot.process.is_cut_off:  # it was ended before it was forked
            kill_group(forked.pid)
        elif self.is_stopping:
            slot.stop()
        else:
            slot.process.wakeups.put()  # confirms the fork: the worker waits for this

    def on_fork_lost(self, serials: set[int]) -> None:
        """Order these workers again: the template was lost with their orders."""
        for slot in self.slots:
            process = slot.process
            if process is not None and process.pid is None and process.serial in serials:
                self._vacate(slot, lived_seconds=0.0)

    def owns(self, pid: int) -> bool:
        """Return whether `pid` is a worker of this pool."""
        return self._slot_of(lambda process: process.pid == pid) is not None

    def on_exit(self, pid: int, status: int, usage: Usage) -> None:
        """Have the worker's batch settled, and plan when its slot is filled again."""
        slot = self._slot_of(lambda process: process.pid == pid)
        if slot is None:
            return
        worker_exit = worker_exit_of(slot, self.oom_watch.cause(status), usage)
        self._record_exit(worker_exit)
        lived_seconds = slot.lifetime(was_useful=was_useful(slot, worker_exit))
        slot.note_boot(was_cut_off=isinstance(worker_exit.reason, Shutdown))
        if slot.failed_boots >= self.options.boot_attempts or slot.has_final_boot_error():
            error = slot.boot_error(worker_exit.cause)
            self.failure = self.failure or _failure_of_boots(slot, self.slots, error)
        self._vacate(slot, lived_seconds=lived_seconds)

    # -- stopping

    def stop(self) -> None:
        """Ask all workers to exit after their current jobs, and withdraw the jobs after those."""
        self.is_stopping = True
        for slot in self.slots:
            slot.stop()
        self._withdraw_jobs(self.slots)

    def close(self) -> None:
        """Close the descriptors that are shared with the workers."""
        for process in self.processes():
            self._close_process(process)
        self.recycle_permits.close()

    # -- details

    def _slot_of(self, matches: Callable[[WorkerProcess], bool]) -> WorkerSlot | None:
        found = (slot for slot in self.slots if slot.process is not None and matches(slot.process))
        return next(found, None)

    def _record_exit(self, worker_exit: WorkerExit) -> None:
        """Log and count an exit, and have its batch settled."""
        batch = worker_exit.batch
        job = "" if batch is None or batch.current is None else f" job={batch.current}"
        log.info(
            "worker exited: queue=%s worker=%s pid=%d cause=%r%s",
            worker_exit.consumer.queue_name,
            worker_exit.worker,
            worker_exit.pid,
            worker_exit.cause,
            job,
        )
        self.outbox.settle(worker_exit)
        self.counters.count_exit(worker_exit)

    def _vacate(self, slot: WorkerSlot, *, lived_seconds: float) -> None:
        self._close_process(slot.vacate(lived_seconds=lived_seconds))
        self.recycle_permits.on_exit(slot.consumer_index)

    def _close_process(self, process: WorkerProcess) -> None:
        """Close the descriptors of a worker that has exited, and free its number."""
        process.close()
        self.numbers.release(process.number)

    def _withdraw_jobs(self, slots: Iterable[WorkerSlot]) -> None:
        """Release the jobs that have not started, so that other workers can run them."""
        for slot in slots:
            withdrawn = slot.withdraw_permits()
            if withdrawn is not None:
                self.outbox.release(*withdrawn)


def _failure_of_boots(slot: WorkerSlot, slots: Iterable[WorkerSlot], error: str) -> str | None:
    """Return why the pool gives up.

    Return None if a worker of the consumer was up, because others may still run jobs.
    """
    index = slot.consumer_index
    if any(one.is_up or one.has_been_up for one in slots if one.consumer_index == index):
        shortages.warn("worker not replaced", error)
        return None
    return slot.boot_failure(error)


def _next_look(slot: WorkerSlot, now: float, slow_after_seconds: float) -> float:
    """Return when a worker must be checked again."""
    process = slot.process
    match slot.state:
        case WorkerState.CONDEMNED:
            return now + STACK_SECONDS / 2
        case WorkerState.BOOTING | WorkerState.PARKED:
            return now + BOOT_LOOK_SECONDS
        case WorkerState.IDLE if process is not None and process.output.has_pending:
            return now + OUTPUT_LOOK_SECONDS
        case WorkerState.BUSY | WorkerState.EXITING:
            return now + min(OUTPUT_LOOK_SECONDS, slow_after_seconds / 2)
    return math.inf
