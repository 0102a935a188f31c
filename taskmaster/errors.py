"""The exceptions that taskmaster raises on purpose, under one root, each with one sentence."""


class TaskmasterError(Exception):
    """The root of all exceptions that taskmaster raises on purpose."""


class InvalidConfig(TaskmasterError):
    """The configuration, or an object that it names, cannot be used."""


class InvalidJob(TaskmasterError):
    """A queue name, priority, delay or header cannot be put."""


class InvalidPayload(InvalidJob):
    """A payload cannot be put."""


class InvalidOutcome(TaskmasterError):
    """A callback or a middleware returned something that is not an outcome."""


class JobTimeout(TaskmasterError):
    """The job ran longer than its consumer's `timeout_seconds`. Raised inside the callback."""


class WorkersFailed(TaskmasterError):
    """The workers, or the template that they are forked from, crash before they can work."""


class JobNotFound(TaskmasterError):
    """No job has this id, or none in a state that the operation accepts."""


class DatabaseUnreachable(TaskmasterError):
    """The database does not respond."""


class DatabaseRefused(TaskmasterError):
    """The database refuses a statement or a session: a right, an object or room is missing."""


class SchemaMismatch(TaskmasterError):
    """The database's schema is missing, or older or newer than the code."""


class EmbeddedUnavailable(TaskmasterError):
    """The embedded server is not installed, or does not start."""


# Tracebacks and the records of failed runs name an exception by the module that users import it
# from.
for _found in list(globals().values()):
    if isinstance(_found, type) and issubclass(_found, TaskmasterError):
        _found.__module__ = "taskmaster"

del _found
