"""Background jobs on Postgres, run in processes."""

from importlib import import_module
from typing import TYPE_CHECKING

from taskmaster.admin import Admin
from taskmaster.consumer import Callback, Component, Consumer, Delivery, MiddlewareSpec
from taskmaster.errors import (
    DatabaseRefused,
    DatabaseUnreachable,
    EmbeddedUnavailable,
    InvalidConfig,
    InvalidJob,
    InvalidOutcome,
    InvalidPayload,
    JobNotFound,
    JobTimeout,
    SchemaMismatch,
    TaskmasterError,
    WorkersFailed,
)
from taskmaster.failure import Failure
from taskmaster.job import Ack, Job, JobContext, JobRecord, Outcome, Reject, Retry, Snooze, State
from taskmaster.middleware import Handler, Middleware
from taskmaster.options import SupervisorOptions
from taskmaster.publisher import Publisher
from taskmaster.store.jobs import QueueCount
from taskmaster.store.supervisors import RunningJob, SupervisorStatus
from taskmaster.version import VERSION as __version__

if TYPE_CHECKING:
    from taskmaster.processes.supervisor.background import BackgroundSupervisor
    from taskmaster.supervisor import Supervisor

__all__ = [
    # putting jobs
    "Publisher",
    # running jobs
    "BackgroundSupervisor",
    "Callback",
    "Component",
    "Consumer",
    "Delivery",
    "MiddlewareSpec",
    "Supervisor",
    "SupervisorOptions",
    # inside a callback
    "Ack",
    "Job",
    "JobContext",
    "Outcome",
    "Reject",
    "Retry",
    "Snooze",
    # administration
    "Admin",
    "Failure",
    "JobRecord",
    "QueueCount",
    "RunningJob",
    "State",
    "SupervisorStatus",
    # extension; the rest is in taskmaster.middleware
    "Handler",
    "Middleware",
    # errors
    "DatabaseRefused",
    "DatabaseUnreachable",
    "EmbeddedUnavailable",
    "InvalidConfig",
    "InvalidJob",
    "InvalidOutcome",
    "InvalidPayload",
    "JobNotFound",
    "JobTimeout",
    "SchemaMismatch",
    "TaskmasterError",
    "WorkersFailed",
    # the installed version
    "__version__",
]

# Imported on first use: a program that only puts jobs needs neither the runtime nor Linux.
_LAZY = {
    "BackgroundSupervisor": "taskmaster.processes.supervisor.background",
    "Supervisor": "taskmaster.supervisor",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
