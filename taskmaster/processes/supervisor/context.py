"""The context that all generations of one supervisor share."""

from typing import NamedTuple

from taskmaster.options import SupervisorOptions
from taskmaster.processes.ipc.lifeline import Lifeline
from taskmaster.processes.ipc.plan import Database
from taskmaster.processes.supervisor.pool.worker_numbers import WorkerNumbers


class SupervisorContext(NamedTuple):
    """The parts of a supervisor that a reload does not change."""

    database: Database
    lifeline: Lifeline
    options: SupervisorOptions
    numbers: WorkerNumbers
