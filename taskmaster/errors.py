"""What taskmaster raises on purpose: one root, few children, one sentence each."""


class TaskmasterError(Exception):
    """Anything taskmaster raises on purpose."""


class InvalidConfig(TaskmasterError):
    """The configuration, or a thing that it names, cannot be used."""


class InvalidJob(TaskmasterError):
    """A queue name, priority, delay or header that cannot be put."""


class InvalidPayload(InvalidJob):
    """The payload cannot be put."""


class InvalidOutcome(TaskmasterError):
    """A callback or a middleware answered something that is no outcome."""


class JobTimeout(TaskmasterError):
    """The job ran for longer than its consumer's `timeout_seconds`. Raised inside the callback."""


class WorkersFailed(TaskmasterError):
    """The workers, or the template that they come from, die before they can work."""


class JobNotFound(TaskmasterError):
    """No job has this id, or none in a state that the operation takes."""


class DatabaseUnreachable(TaskmasterError):
    """The database does not answer."""


class SchemaMismatch(TaskmasterError):
    """The database's schema is missing, older than the code, or newer."""


class EmbeddedUnavailable(TaskmasterError):
    """The embedded server is not installed or does not start."""
