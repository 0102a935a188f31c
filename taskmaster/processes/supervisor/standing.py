"""How the supervisor is, in numbers: what the exporter asks for."""

from collections.abc import Iterable, Iterator

from taskmaster.processes.crew.crew import Crew
from taskmaster.processes.crew.member import Member
from taskmaster.processes.crew.tally import Tally
from taskmaster.processes.shared.snapshot import QueueState


def queue_states(crews: Iterable[Crew], tally: Tally) -> list[QueueState]:
    """The queues of all configurations that have workers, with what their dead workers have left in the tally."""
    states: dict[str, QueueState] = {}
    for crew in crews:
        for member in crew.members:
            name = member.consumer.queue_name
            state = states.setdefault(name, _of_the_dead(name, tally))
            state.memory_limit_mb = member.consumer.memory_limit_mb
            if member.life is not None:
                _count(state, member)
            elif not crew.stopping:
                state.vacant += 1
    return list(states.values())


def _of_the_dead(name: str, tally: Tally) -> QueueState:
    exits = {
        cause: times for (queue_name, cause), times in tally.exits.items() if queue_name == name
    }
    return QueueState(
        name,
        exits=exits,
        found=tally.found[name],
        empty=tally.empty[name],
        lost_leases=tally.lost_leases[name],
    )


def _count(state: QueueState, member: Member) -> None:
    row = member.row
    if not (member.alive and row.booted):
        state.booting += 1
    elif row.idle:
        state.idle += 1
    else:
        state.busy += 1
    state.running += row.running() is not None
    state.found += row.claims.found
    state.empty += row.claims.empty
    state.lost_leases += row.lost_leases
    state.pids = [*state.pids, *_pid(member)]


def _pid(member: Member) -> Iterator[int]:
    if member.life is not None and member.life.pid is not None:
        yield member.life.pid
