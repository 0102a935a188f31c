"""All that the template and its workers need to know, handed over once at the template's start."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import dill

from taskmaster.consumer import Consumer
from taskmaster.processes.worker import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`source` names the file that the consumers came from, for sentences about what is wrong in it."""

    database: Database
    consumers: Sequence[Consumer]
    source: str = "consumers"
    slots: int = 0
    sys_path: Sequence[str] = field(default_factory=lambda: [entry or os.getcwd() for entry in sys.path])
    argv: Sequence[str] = field(default_factory=lambda: list(sys.argv))


def write(plan: Plan) -> int:
    """A descriptor from which the plan can be read. dill: callbacks may be closures, lambdas, or defined in `__main__`."""
    fd = os.memfd_create("taskmaster-plan")
    with os.fdopen(os.dup(fd), "wb") as file:
        dill.dump(plan, file, recurse=True)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def read(fd: int) -> Plan:
    """The plan written by the supervisor."""
    with os.fdopen(fd, "rb") as file:
        return cast(Plan, dill.load(file))
