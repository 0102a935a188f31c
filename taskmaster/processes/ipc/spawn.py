"""Start a new Python interpreter, and hand it one value through a memfd.

The supervisor starts its template and its exporter in this way, and an application its supervisor.
The new process is the same Python with the same flags and import path.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dill

from taskmaster.import_path import own_first
from taskmaster.processes.ipc.edition import EDITION
from taskmaster.processes.ipc.python import Python, flags, this_python
from taskmaster.processes.system.exit_status import describe_exit_code

log = logging.getLogger("taskmaster.supervisor")

# What the new process runs: our own module is imported before the user's path is in use. Imports
# make no garbage, so the collector would only cost time: a sixth of the imports' time, and as much
# again at the exit.
BOOT = """\
import gc, sys
gc.disable()
if sys.implementation.cache_tag != {python!a}:
    sys.exit({other_edition})
sys.path[:], sys.argv[:] = {own_path!a}, {argv!a}
try:
    from taskmaster.processes.ipc.edition import EDITION
except ImportError:
    EDITION = None
if EDITION != {edition!a}:
    sys.exit({other_edition})
from {module} import main
sys.path[:] = {path!a}
gc.freeze()
gc.enable()
main{fds!r}
"""
# A command line holds 128 KiB at most, and it is shown by ps.
LOADER = "with open({fd}, 'rb') as boot: boot = boot.read()\nexec(boot, {{}})"
OTHER_EDITION = 79
UPGRADED = "taskmaster or its Python was upgraded on disk: restart the supervisor"


def interpreter(
    module: str,
    fds: Sequence[int],
    *,
    python: Python | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> "subprocess.Popen[bytes]":
    """Run `main(*fds)` of one of our modules in a new process, which inherits only these fds.

    `python` is by default that of this process. If the module on disk is of another edition than
    the code of this process, the new process ends with `OTHER_EDITION`.
    """
    python = python or this_python()
    boot = BOOT.format(
        python=sys.implementation.cache_tag,
        own_path=own_first(python.path),
        argv=getattr(sys, "argv", [""]),
        edition=EDITION,
        other_edition=OTHER_EDITION,
        module=module,
        path=list(python.path),
        fds=tuple(fds),
    )
    with _in_memory(boot.encode()) as boot_fd:
        command = [python.executable, *flags(), "-c", LOADER.format(fd=boot_fd)]
        return subprocess.Popen(
            command,
            pass_fds=(boot_fd, *fds),
            stdin=subprocess.DEVNULL,
            env=environment,
            **options,
        )


def describe_exit(code: int) -> str:
    """Return how a process that `interpreter` has started ended, in words."""
    return UPGRADED if code == OTHER_EDITION else f"it ended with {describe_exit_code(code)}"


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory."""
    with os.fdopen(os.memfd_create("taskmaster-boot"), "wb", buffering=0) as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


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
