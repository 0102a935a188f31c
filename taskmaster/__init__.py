"""Background jobs on Postgres, run in processes."""

from taskmaster.admin import Admin
from taskmaster.consumer import Consumer
from taskmaster.errors import (
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
from taskmaster.job import Ack, Failure, Job, JobRecord, Outcome, Reject, Retry, Snooze, State
from taskmaster.middleware import Handler, Middleware
from taskmaster.options import SupervisorOptions
from taskmaster.processes.supervisor.supervisor import Supervisor
from taskmaster.publisher import Publisher

__all__ = [
    # the two ends
    "Consumer",
    "Publisher",
    "Supervisor",
    "SupervisorOptions",
    # what a callback sees and says
    "Ack",
    "Job",
    "Outcome",
    "Reject",
    "Retry",
    "Snooze",
    # administration
    "Admin",
    "Failure",
    "JobRecord",
    "State",
    # extension
    "Handler",
    "Middleware",
    # errors
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
]
