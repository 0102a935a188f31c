"""What the supervisor and the template tell each other: small JSON messages, descriptors beside them."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

MAX_MESSAGE = 64 * 1024
MAX_FDS = 6


class Ready(msgspec.Struct, tag=True):
    """The template has imported everything. `reports`: some middleware wants to be told of crashes."""

    reports: bool


class Failed(msgspec.Struct, tag=True):
    """The template cannot serve; `sentence` says why."""

    sentence: str


class WorkerOrder(msgspec.Struct, tag=True):
    """Start a worker for a consumer in a slot. With it go the descriptors of its life, and whose turn it is to be
    replaced. `number` names the files in which it counts.
    `waits`: it claims nothing until it is woken. `held_fd` is set by the template: the worker's end of the
    lifeline."""

    serial: int
    consumer: int
    row: int
    worker: str
    supervisor: int
    number: int
    parked: bool = False
    held_fd: int = -1


class ReporterOrder(msgspec.Struct, tag=True):
    """Start a process that tells middlewares of crashes. With it goes the descriptor from which to read them."""

    serial: int


class Forked(msgspec.Struct, tag=True):
    """The worker or reporter ordered under `serial` lives."""

    serial: int
    pid: int


Message = Ready | Failed | WorkerOrder | ReporterOrder | Forked


class Received(NamedTuple):
    message: Message
    fds: Sequence[int]


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError when the other end is gone or does not read."""
    socket.send_fds(channel, [msgspec.json.encode(message)], list(fds))


def receive(channel: socket.socket) -> Received | None:
    """The next message; None: the other end is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_FDS)
    except ConnectionResetError:  # with something from us unread
        return None
    return Received(msgspec.json.decode(data, type=Message), fds) if data else None
