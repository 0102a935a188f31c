"""Start a new interpreter with the import path of this one, and hand it one value through a memfd."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dill

# Imports make no garbage: the collector would cost them a sixth of their time, and as much at the
# end.
BOOT = (
    "import gc, sys; gc.disable(); sys.path[:] = {path!r}; sys.argv[:] = {argv!r};"
    " from {module} import main; gc.freeze(); gc.enable(); main{fds!r}"
)


def interpreter(
    module: str, fds: Sequence[int], *, environment: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.Popen[bytes]":
    """Run `main(*fds)` of one of our modules in a new process. It inherits these descriptors only."""
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
    """Return the value that the process which started this one has handed over."""
    with os.fdopen(fd, "rb") as file:
        return dill.load(file)
