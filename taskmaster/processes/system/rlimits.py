"""The limit on open files of the supervisor, which needs a few for each worker."""

import resource
from functools import cache

from taskmaster.errors import InvalidConfig

# Its wakeup pipe, permits, stack, a pipe and a file each for output and error, and three more while
# it is ordered. Twice, because a reload runs two generations.
PER_WORKER = 2 * 10
OWN = 100


def allow_open_files(workers: int, source: str) -> None:
    """Raise the soft limit as far as `workers` need.

    Raises InvalidConfig if the hard limit forbids it.
    """
    first_open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers * PER_WORKER + OWN
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InvalidConfig(
            f"{source}: {workers} workers need {needed} open files, this process may have {hard}: "
            "lower the concurrency or raise the limit (ulimit -Hn)"
        )
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@cache
def first_open_files() -> int:
    """Return the soft limit with which this process was started. Call this before it is raised."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def restore_open_files(soft: int | None) -> None:
    """Set the soft limit again in a child, so that user code and its programs have that."""
    if soft is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
