"""Start a new Python interpreter, and hand it one value through a memfd.

The supervisor starts its template and its exporter in this way, and an application its supervisor.
The new process has the import path of the old one.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dill

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


def hand_over(value: object) -> int:
    """Return a descriptor from which `take` reads `value`.

    It uses dill, because callbacks may be closures, lambdas, or defined in `__main__`.
    """
    fd = os.memfd_create("taskmaster-handover")
    with os.fdopen(os.dup(fd), "wb") as file:
        dill.dump(value, file, recurse=True)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def take(fd: int) -> Any:
    """Return the value that was handed over by the process that started this one."""
    with os.fdopen(fd, "rb") as file:
        return dill.load(file)
