"""Start a fresh interpreter that has the import path of this one, and is handed one value through a memfd."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dill

# Imports make no garbage: the collector would cost them a sixth of their time, and as much again at the end.
BOOT = (
    "import gc, sys; gc.disable(); sys.path[:] = {path!r}; sys.argv[:] = {argv!r};"
    " from {module} import main; gc.freeze(); gc.enable(); main{fds!r}"
)


def interpreter(
    module: str, fds: Sequence[int], *, environment: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.Popen[bytes]":
    """Run `main(*fds)` of a module of ours in a new process that inherits these descriptors and no others."""
    path = [entry or str(Path.cwd()) for entry in sys.path]
    boot = BOOT.format(path=path, argv=sys.argv, module=module, fds=tuple(fds))
    command = [sys.executable, "-c", boot]
    return subprocess.Popen(
        command, pass_fds=fds, stdin=subprocess.DEVNULL, env=environment, **options
    )


def hand_over(value: object) -> int:
    """A descriptor from which `value` can be taken. dill: callbacks may be closures, lambdas, or of `__main__`."""
    fd = os.memfd_create("taskmaster-handover")
    with os.fdopen(os.dup(fd), "wb") as file:
        dill.dump(value, file, recurse=True)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def take(fd: int) -> Any:
    """The value handed over by the process that started this one."""
    with os.fdopen(fd, "rb") as file:
        return dill.load(file)
