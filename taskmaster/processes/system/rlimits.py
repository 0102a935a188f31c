"""The limit on open files of the supervisor, which needs a few for each worker."""

import resource

from taskmaster.errors import InvalidConfig

# Its wakeup pipe, permits, stack, a pipe and a file each for output and error, and three more while
# it is ordered. Twice, because a reload runs two generations.
PER_WORKER = 2 * 10
OWN = 100


def allow_open_files(workers: int, source: str) -> None:
    """Raise the soft limit as far as `workers` need.

    Raises InvalidConfig if the hard limit forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers * PER_WORKER + OWN
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InvalidConfig(
            f"{source}: {workers} workers need {needed} open files, this process may have {hard}: "
            "lower the concurrency or raise the limit (ulimit -Hn)"
        )
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
