"""How many files a supervisor may have open: each worker takes a few."""

import resource

from taskmaster.errors import InvalidConfig

# Two ends of its wakeup queue, permits, stack, output and error, one more while it is ordered; and twice, for a reload.
PER_WORKER = 2 * 7
OWN = 100


def allow_for(workers: int, source: str) -> None:
    """Raise the soft limit as far as so many workers need. Raises InvalidConfig when the hard limit forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = workers * PER_WORKER + OWN
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InvalidConfig(
            f"{source}: {workers} workers need {needed} open files and this process may have {hard}: "
            "lower the concurrency or raise the limit (ulimit -Hn)"
        )
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
