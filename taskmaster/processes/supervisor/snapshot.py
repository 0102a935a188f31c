"""How the supervisor is, in numbers: what the exporter asks for."""

from collections.abc import Iterable, Iterator

from taskmaster.processes.pool.counters import Counters
from taskmaster.processes.pool.pool import WorkerPool
from taskmaster.processes.pool.slot import WorkerSlot
from taskmaster.processes.shared.snapshot import QueueState


def queue_states(pools: Iterable[WorkerPool], counters: Counters) -> list[QueueState]:
    """The queues of all configurations that have workers, with what their dead workers have left in the tally."""
    states: dict[str, QueueState] = {}
    for pool in pools:
        for slot in pool.slots:
            name = slot.consumer.queue_name
            state = states.setdefault(name, _of_the_dead(name, counters))
            state.memory_limit_mb = slot.consumer.memory_limit_mb
            if slot.process is not None:
                _count(state, slot)
            elif not pool.stopping:
                state.vacant += 1
    return list(states.values())


def _of_the_dead(name: str, counters: Counters) -> QueueState:
    exits = {
        cause: times for (queue_name, cause), times in counters.exits.items() if queue_name == name
    }
    return QueueState(
        name,
        exits=exits,
        found=counters.found[name],
        empty=counters.empty[name],
        lost_leases=counters.lost_leases[name],
    )


def _count(state: QueueState, slot: WorkerSlot) -> None:
    row = slot.row
    if not (slot.alive and row.booted):
        state.booting += 1
    elif row.idle:
        state.idle += 1
    else:
        state.busy += 1
    state.running += row.running() is not None
    state.found += row.claims.found
    state.empty += row.claims.empty
    state.lost_leases += row.lost_leases
    state.pids = [*state.pids, *_pid(slot)]


def _pid(slot: WorkerSlot) -> Iterator[int]:
    if slot.process is not None and slot.process.pid is not None:
        yield slot.process.pid
