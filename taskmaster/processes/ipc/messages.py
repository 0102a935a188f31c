"""The messages between supervisor and template: small JSON, with descriptors attached.

The supervisor sends orders. The template sends the other messages.
"""

import errno
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

MAX_MESSAGE_BYTES = 64 * 1024
MAX_SENTENCE = 4_000  # characters, of which each takes at most 12 bytes in JSON


class WorkerFds(NamedTuple):
    """The descriptors that go to a worker with its order."""

    wakeups: int
    permits: int
    stack: int
    recycle_permit: int
    stdout: int
    stderr: int


class Ready(msgspec.Struct, tag=True):
    """The template has imported everything. `reports`: a middleware wants crash reports."""

    reports: bool


class Noted(msgspec.Struct, tag=True):
    """The template will be ready, but the user should read this sentence.

    The supervisor logs it, because the user's modules may have set up the template's logging.
    """

    sentence: str


class Failed(msgspec.Struct, tag=True):
    """The template cannot serve. `sentence` is the reason, cut to `MAX_SENTENCE`."""

    sentence: str


class WorkerOrder(msgspec.Struct, tag=True):
    """Start a worker. Its `WorkerFds` go with the order.

    `consumer` is an index into the plan's consumers, `row` the worker's row of the scoreboard.
    `number` names the metric files in which it counts. A `parked` worker claims nothing until it is
    woken. The template sets `held_fd`, the worker's end of the lifeline.
    """

    serial: int
    consumer: int
    row: int
    worker: str
    supervisor: int
    number: int
    parked: bool = False
    held_fd: int = -1


class ReporterOrder(msgspec.Struct, tag=True):
    """Start a process that reports crashes. A file with the crashes goes with the order."""

    serial: int


class Forked(msgspec.Struct, tag=True):
    """The process ordered under `serial` was forked.

    `pid` 0 means that the fork failed, for the `reason`.
    """

    serial: int
    pid: int
    reason: str = ""


Message = Ready | Noted | Failed | WorkerOrder | ReporterOrder | Forked


class Received(NamedTuple):
    """A message and the descriptors that came with it.

    Without `is_whole`, this process had no room for all descriptors, and the others are lost.
    """

    message: Message
    fds: Sequence[int]
    is_whole: bool = True


def failed(error: BaseException) -> Failed:
    """Return the message about an error, short enough to be sent."""
    return Failed(shorten(str(error)))


def shorten(sentence: str) -> str:
    """Return a sentence cut to `MAX_SENTENCE`."""
    is_short = len(sentence) <= MAX_SENTENCE
    return sentence if is_short else f"{sentence[:MAX_SENTENCE]}… ({len(sentence)} in all)"


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message.

    Raises OSError if it is too long, or if the other end is gone or does not read.
    """
    encoded = msgspec.json.encode(message)
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    socket.send_fds(channel, [encoded], list(fds))


def receive(channel: socket.socket) -> Received | None:
    """Return the next message, or None if the other end is gone."""
    try:
        data, fds, flags, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, len(WorkerFds._fields))
    except ConnectionResetError:  # the other end closed before it had read our last message
        return None
    if not data:
        return None
    message = msgspec.json.decode(data, type=Message)
    return Received(message, fds, not flags & socket.MSG_CTRUNC)
