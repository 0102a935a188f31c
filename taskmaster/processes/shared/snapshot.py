"""What the supervisor answers when the exporter asks how it is: one JSON message."""

from collections.abc import Mapping, Sequence

import msgspec

QUESTION_BYTES = 8
LARGEST_ANSWER = 1024 * 1024


class QueueState(msgspec.Struct):
    """The workers of one queue, and what its workers have done since the supervisor's start.

    `vacant`: places whose worker is still to be replaced. `exits`: by cause. `found`, `empty`: claims.
    `memory_limit_mb`: of each worker; None: it has none.
    """

    name: str
    booting: int = 0
    idle: int = 0
    busy: int = 0
    vacant: int = 0
    running: int = 0
    pids: Sequence[int] = ()
    exits: Mapping[str, int] = {}
    found: int = 0
    empty: int = 0
    lost_leases: int = 0
    memory_limit_mb: float | None = None


class Snapshot(msgspec.Struct):
    """`number`: of the question that this answers. `workers_up`: all of the configuration at work have booted."""

    number: int
    queues: Sequence[QueueState]
    wakeups: Mapping[str, int]
    rescued: int
    listener_up: bool
    database_up: bool
    workers_up: bool
    stopping: bool
