"""The edition of this code: its version, and the layout of what its processes share.

A supervisor goes on with the code that it has loaded. A process that it starts later loads what is
on disk by then. Two editions would misunderstand each other, so such a process is refused.
"""

import hashlib
from dataclasses import fields
from typing import get_args

from taskmaster.consumer import Consumer
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ipc import messages, scoreboard
from taskmaster.processes.ipc.plan import ExporterPlan, Plan
from taskmaster.processes.ipc.snapshot import QueueState, Snapshot
from taskmaster.settlement import Settlement
from taskmaster.version import VERSION

STRUCTS = (*get_args(messages.Message), Snapshot, QueueState)
TUPLES = (messages.WorkerFds, ExporterPlan)
DATACLASSES = (Plan, Consumer, SupervisorOptions, Settlement)


def _layout() -> str:
    """Return a digest of the cells of the scoreboard, and of the fields of all that is sent."""
    cells = [
        (name, value)
        for name, value in vars(scoreboard).items()
        if name.isupper() and isinstance(value, int)
    ]
    shapes = [
        *((one.__name__, one.__struct_fields__) for one in STRUCTS),
        *((one.__name__, one._fields) for one in TUPLES),
        *((one.__name__, [key.name for key in fields(one)]) for one in DATACLASSES),
    ]
    described = repr((cells, list(scoreboard.Phase), shapes))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


EDITION = f"{VERSION} {_layout()}"
