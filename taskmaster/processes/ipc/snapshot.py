"""The snapshot: the supervisor's reply to a question of the exporter, JSON in a file in memory.

A message would be too small for a supervisor with some hundred queues.
"""

import os
import socket
from collections.abc import Mapping, Sequence

import msgspec

QUESTION_BYTES = 8
REPLY = b"snapshot"  # only carries the descriptor of the file in memory that holds it


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


def send_snapshot(channel: socket.socket, snapshot: Snapshot) -> None:
    """Send a snapshot. Raises OSError if the reader is slow or gone, or descriptors are short."""
    with os.fdopen(os.memfd_create("taskmaster-snapshot"), "wb", buffering=0) as file:
        file.write(msgspec.json.encode(snapshot))
        socket.send_fds(channel, [REPLY], [file.fileno()])


def receive_snapshot(channel: socket.socket) -> Snapshot:
    """Return the next snapshot. Raises OSError if none comes in time, and msgspec.DecodeError."""
    _, fds, _, _ = socket.recv_fds(channel, len(REPLY), 1)
    if not fds:
        raise ConnectionError("the supervisor is gone, or descriptors are short")
    with os.fdopen(fds[0], "rb") as file:
        file.seek(0)
        return msgspec.json.decode(file.read(), type=Snapshot)
