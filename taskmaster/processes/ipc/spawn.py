"""Start a new Python interpreter, and hand it one value through a memfd.

The supervisor starts its template and its exporter in this way, and an application its supervisor.
The new process has the import path of the old one.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dill

log = logging.getLogger("taskmaster.supervisor")

# Imports make no garbage, so the collector would only cost time: a sixth of the imports' time, and
# as much again at the exit.
BOOT = (
    "import gc, sys; gc.disable(); sys.path[:] = {path!r}; sys.argv[:] = {argv!r};"
    " from {module} import main; gc.freeze(); gc.enable(); main{fds!r}"
)


def interpreter(
    module: str, fds: Sequence[int], *, environment: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.Popen[bytes]":
    """Run `main(*fds)` of one of our modules in a new process, which inherits only these fds."""
    path = [entry or str(Path.cwd()) for entry in sys.path]
    boot = BOOT.format(path=path, argv=sys.argv, module=module, fds=tuple(fds))
    command = [sys.executable, "-c", boot]
    return subprocess.Popen(
        command, pass_fds=fds, stdin=subprocess.DEVNULL, env=environment, **options
    )


def with_channel(
    module: str, value: object, fds: Sequence[int], **options: Any
) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """Run `main(channel_fd, value_fd, *fds)`. Return the process and our end of its channel.

    Raises OSError if the process cannot be started, and leaves nothing open then.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(True)  # whatever socket.setdefaulttimeout was called with
    with theirs, ExitStack() as unless_started:
        unless_started.callback(ours.close)
        with handed_over(value) as value_fd:
            process = interpreter(module, (theirs.fileno(), value_fd, *fds), **options)
        unless_started.pop_all()
    return process, ours


def end(process: "subprocess.Popen[bytes]", within_seconds: float) -> None:
    """Kill a process and reap it. If the kernel does not end it in time, leave it to the reaper."""
    process.kill()
    try:
        process.wait(within_seconds)
    except subprocess.TimeoutExpired:
        log.warning("process killed but not ended: pid=%d", process.pid)
        process.returncode = -signal.SIGKILL  # so that nothing waits for this pid later


def hand_over(value: object) -> int:
    """Return a descriptor from which `take` reads `value`.

    It uses dill, because callbacks may be closures, lambdas, or defined in `__main__`.
    """
    with os.fdopen(os.memfd_create("taskmaster-handover"), "wb") as file:
        dill.dump(value, file, recurse=True)
        file.seek(0)
        return os.dup(file.fileno())


@contextmanager
def handed_over(value: object) -> Iterator[int]:
    """Yield what `hand_over` returns, and close it."""
    fd = hand_over(value)
    try:
        yield fd
    finally:
        os.close(fd)


def take(fd: int) -> Any:
    """Return the value that was handed over by the process that started this one."""
    with os.fdopen(fd, "rb") as file:
        return dill.load(file)
