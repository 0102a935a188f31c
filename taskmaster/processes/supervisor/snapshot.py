"""The supervisor's state in numbers: for its heartbeat and for the exporter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter

from taskmaster.processes.ipc.snapshot import QueueState, Snapshot
from taskmaster.processes.supervisor.database.listener import Listener
from taskmaster.processes.supervisor.database.rescuer import Rescuer
from taskmaster.processes.supervisor.database.session import DatabaseSession
from taskmaster.processes.supervisor.exits.counters import Counters
from taskmaster.processes.supervisor.pool.reload import Generations
from taskmaster.processes.supervisor.pool.slot import WorkerSlot, WorkerState
from taskmaster.processes.supervisor.pool.waking import Waker
from taskmaster.processes.supervisor.shutdown import ShutdownService
from taskmaster.store.supervisors import HeartbeatReport

MOST_RUNNING = 500  # runs in a heartbeat: with notes of 200 bytes, some 200 kB
NOT_UP = (WorkerState.STARTING, WorkerState.BOOTING)


def slots_of(generations: Generations) -> Iterator[WorkerSlot]:
    """Yield the slots of all generations."""
    return (slot for generation in generations for slot in generation.pool.slots)


def worker_names(generations: Generations) -> list[str]:
    """Return the names of all workers that are ordered or running."""
    return [slot.process.name for slot in slots_of(generations) if slot.process is not None]


def all_up(slots: Iterable[WorkerSlot]) -> bool:
    """Return whether all slots have a worker that is up."""
    return all(slot.is_up for slot in slots)


def all_have_been_up(slots: Iterable[WorkerSlot]) -> bool:
    """Return whether each slot has or had a worker that was up.

    Workers are not required to be up at the same time: if many jobs crash their workers, they
    never are.
    """
    return all(slot.is_up or slot.has_been_up for slot in slots)


def any_idle(slots: Iterable[WorkerSlot]) -> bool:
    """Return whether a worker waits for jobs."""
    return any(slot.is_up and slot.is_idle for slot in slots)


def heartbeat_report(
    generations: Generations, counters: Counters, *, notify_ms: int
) -> HeartbeatReport:
    """Return the report of a heartbeat. A run is in it once it has lasted for a while.

    Of many runs, those that have lasted longest are in it.
    """
    slots = list(slots_of(generations))
    running = [shown for slot in slots if (shown := slot.running()) is not None]
    if len(running) > MOST_RUNNING:
        running = nlargest(MOST_RUNNING, running, key=itemgetter("seconds"))
    lost_now = sum(slot.row.lost_leases for slot in slots if slot.process is not None)
    return HeartbeatReport(
        idle=any_idle(slots),
        idle_ms=notify_ms,
        lost_leases=counters.lost_leases.total() + lost_now,
        running=running,
        queue_names=sorted({slot.consumer.queue_name for slot in generations.current.pool.slots}),
    )


def queue_states(generations: Generations, counters: Counters) -> list[QueueState]:
    """Return the state of each queue that has workers.

    The counts include those of workers that have exited.
    """
    states: dict[str, QueueState] = {}
    for generation in generations:
        for slot in generation.pool.slots:
            name = slot.consumer.queue_name
            state = states.setdefault(name, _state_from_counters(name, counters))
            state.memory_limit_mb = slot.consumer.memory_limit_mb
            if slot.process is not None:
                _add_worker(state, slot)
            elif not generation.pool.is_stopping:
                state.vacant += 1
    return list(states.values())


def _state_from_counters(name: str, counters: Counters) -> QueueState:
    exits = {
        cause: times for (queue_name, cause), times in counters.exits.items() if queue_name == name
    }
    return QueueState(
        name=name,
        exits=exits,
        found=counters.found[name],
        empty=counters.empty[name],
        lost_leases=counters.lost_leases[name],
    )


def _add_worker(state: QueueState, slot: WorkerSlot) -> None:
    """Add a worker to the state of its queue.

    A worker that was woken counts as idle until it claims.
    """
    if slot.state in NOT_UP:
        state.booting += 1
    elif slot.is_idle:
        state.idle += 1
    else:
        state.busy += 1
    state.running += slot.row.batch.current_run() is not None
    claims = slot.row.claims
    state.found += claims.found
    state.empty += claims.empty
    state.lost_leases += slot.row.lost_leases
    if slot.process is not None and slot.process.pid is not None:
        state.pids = [*state.pids, slot.process.pid]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSource:
    """Takes snapshots of the supervisor for the exporter."""

    generations: Generations
    counters: Counters
    waker: Waker
    rescuer: Rescuer
    listener: Listener
    session: DatabaseSession
    shutdown: ShutdownService

    def _database_troubles(self) -> list[str]:
        """Return what the database refuses the supervisor or its workers."""
        slots = self.generations.current.pool.slots
        queues = {slot.consumer.queue_name for slot in slots if slot.row.has_database_fault}
        refused = [f"the database refuses the workers of {name!r}" for name in sorted(queues)]
        return [*self.session.troubles.sentences(), *refused]

    def take(self, number: int) -> Snapshot:
        """Return the state of the supervisor, for the exporter's question with this number."""
        return Snapshot(
            number=number,
            queues=queue_states(self.generations, self.counters),
            wakeups=self.waker.wakeups,
            rescued=self.rescuer.rescued,
            listener_up=self.listener.is_up,
            database_up=self.session.is_open,
            workers_up=all_up(self.generations.current.pool.slots),
            stopping=self.shutdown.is_requested,
            database_troubles=self._database_troubles(),
        )
