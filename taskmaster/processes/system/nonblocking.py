"""Writing to standard output and error without ever waiting for their reader."""

import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from taskmaster.processes.system.fd_identity import Identity, identity
from taskmaster.processes.system.shortage import is_shortage

CHUNK_BYTES = 4096  # a pipe that is ready takes this much (PIPE_BUF) without blocking
_writers: "dict[Identity | None, NonBlockingWriter]" = {}


class NonBlockingWriter:
    """Writes to a descriptor without blocking.

    Other processes share the descriptor, so its flags are left alone. `rest` is what was accepted
    and is not written yet.
    """

    def __init__(self, fd: int) -> None:
        self.rest = memoryview(b"")
        self._own: int | None = None
        self._write = self._write_function(fd)

    def write(self, data: bytes) -> bool:
        """Write `data`, and return whether it was accepted.

        It is not as long as a rest is left. Its own rest is written before anything else, so that
        nothing comes in between. Raises OSError if there is no reader any more.
        """
        if not self.flush():
            return False
        self.rest = memoryview(data)
        self.flush()
        return True

    def flush(self) -> bool:
        """Write of the rest what the reader takes now. Return whether nothing is left of it.

        Raises OSError if there is no reader any more.
        """
        try:
            while self.rest and (taken := self._write(self.rest)):
                self.rest = self.rest[taken:]
        except OSError as error:
            if is_shortage(error):  # it does not take more now, or its disk is full
                return False
            self.rest = memoryview(b"")
            raise
        return not self.rest

    def close(self) -> None:
        """Close what this writer has opened. Later writes are ignored."""
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self._write = len

    def _write_function(self, fd: int) -> Callable[[memoryview], int]:
        """Return the function that writes to this kind of file.

        A pipe or terminal is opened once more in non-blocking mode. A socket takes a flag with each
        call.
        """
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._own = os.dup(fd)
            return partial(_send, self._own)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._own = os.open(f"/proc/self/fd/{fd}", flags)
            except OSError:  # another user's terminal, perhaps
                return lambda data: os.write(fd, data[:CHUNK_BYTES]) if _is_writable(fd) else 0
        return partial(os.write, fd if self._own is None else self._own)


def writer_for(fd: int) -> NonBlockingWriter:
    """Return this process's only writer for the file behind a descriptor."""
    file = identity(fd)
    if file not in _writers:
        _writers[file] = NonBlockingWriter(fd)
    return _writers[file]


def flush_writers() -> None:
    """Write what is left from before, as far as the readers take it now."""
    for writer in _writers.values():
        with suppress(OSError):  # there is no reader any more
            writer.flush()


def _send(fd: int, data: memoryview) -> int:
    borrowed = socket.socket(fileno=fd)
    try:
        return borrowed.send(data, socket.MSG_DONTWAIT)
    finally:
        borrowed.detach()


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
