"""The snapshot: the supervisor's reply to a question of the exporter, one JSON message."""

from collections.abc import Mapping, Sequence

import msgspec

QUESTION_BYTES = 8
MAX_REPLY_BYTES = 1024 * 1024


class QueueState(msgspec.Struct):
    """The workers of one queue, and their counts since the supervisor started.

    `vacant` counts slots without a worker, and `exits` counts exits by cause. `found` and `empty`
    count claims that found jobs and that found none. `memory_limit_mb` is the limit of one worker,
    or None.
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
    """The supervisor's state.

    `number` is the number of the question. `workers_up`: all workers of the current configuration
    are up. `database_troubles` says what the database refuses, one sentence each.
    """

    number: int
    queues: Sequence[QueueState]
    wakeups: Mapping[str, int]
    rescued: int
    listener_up: bool
    database_up: bool
    workers_up: bool
    stopping: bool
    database_troubles: Sequence[str] = ()
