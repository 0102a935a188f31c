"""What all generations of one supervisor have in common."""

from typing import NamedTuple

from taskmaster.options import SupervisorOptions
from taskmaster.processes.ipc.lifeline import Lifeline
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.pool.worker_numbers import WorkerNumbers


class SupervisorContext(NamedTuple):
    """What stays the same while configurations are reloaded."""

    database: Database
    lifeline: Lifeline
    options: SupervisorOptions
    numbers: WorkerNumbers
