"""The Python that runs our other processes: its executable, its flags and its import path.

They are those of this process, so that callbacks run as if it had called them itself.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from taskmaster.errors import TaskmasterError
from taskmaster.import_path import resolved_path

# The flags of the interpreter that have an attribute of `sys.flags`, without those of -I, -W and
# -X. Not -i and -q, which are for a terminal.
FLAGS = {
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "optimize": "O",
}
ISOLATION = {"ignore_environment": "E", "no_user_site": "s", "safe_path": "P"}


class Python(NamedTuple):
    """An executable and an import path, both without the symbolic links of a release."""

    executable: str
    path: Sequence[str]


def this_python() -> Python:
    """Return the Python of this process, as the links in its paths lead now.

    Raises TaskmasterError if this process has no executable that is a Python.
    """
    directory, name = os.path.split(_executable())
    return Python(str(Path(os.path.realpath(directory), name)), resolved_path())


def flags() -> list[str]:
    """Return the options of the interpreter with which this process was started."""
    found = [f"-{letter * getattr(sys.flags, name)}" for name, letter in FLAGS.items()]
    isolation = {"isolated": "I"} if sys.flags.isolated else ISOLATION
    found += [f"-{letter * int(getattr(sys.flags, name))}" for name, letter in isolation.items()]
    if isinstance(sys.__stdout__, TextIOWrapper) and sys.__stdout__.write_through:
        found.append("-u")
    found += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        found.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return [flag for flag in found if flag != "-"]


# -- the executable


def _executable() -> str:
    """Return the path of a Python.

    `sys.executable` is something else in a program that embeds Python, such as a web server. The
    user may have named a Python for that case, as for the standard library's processes.
    """
    named = getattr(sys.modules.get("multiprocessing.spawn"), "_python_exe", None)
    if named and os.fsdecode(named) != sys.executable:
        return os.fsdecode(named)
    for candidate in _candidates():
        if _is_python(candidate):
            return candidate
    raise TaskmasterError(
        f"no Python found to start processes with: sys.executable is {sys.executable!r}; "
        "name one with multiprocessing.set_executable"
    )


def _candidates() -> Iterator[str]:
    if getattr(sys, "frozen", False):  # a Python beside a frozen program lacks its modules
        return
    yield sys.executable or ""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for home in (f"{sys.prefix}/bin", f"{sys.exec_prefix}/bin", sysconfig.get_config_var("BINDIR")):
        yield from (f"{home}/{name}" for name in (version, "python3", "python"))


def _is_python(path: str) -> bool:
    name = Path(path).name.lower()
    return name.startswith(("python", "pypy")) and os.access(path, os.X_OK)
