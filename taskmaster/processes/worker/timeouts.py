"""The limits that a worker enforces on itself: its timeout and its address space.

The supervisor enforces the limits from outside (pool/limits.py), for code that is stuck in C.
"""

import resource
import signal
from types import FrameType

from taskmaster.errors import JobTimeout
from taskmaster.job import Job, Outcome
from taskmaster.middleware import Handler
from taskmaster.processes.system.proc import MIB, address_space_bytes


def with_timeout(handler: Handler, seconds: float) -> Handler:
    """Raise JobTimeout in `handler` when a job runs for longer.

    While code is stuck in C, the exception waits until that code returns. If it does not return,
    the supervisor kills the worker.
    """
    armed = False

    def raise_timeout(number: int, frame: FrameType | None) -> None:
        if armed:  # another thread may have received the signal a moment too late
            raise JobTimeout(f"the job ran for longer than timeout_seconds ({seconds:g} s)")

    def timeout_handler(job: Job) -> Outcome:
        nonlocal armed
        signal.signal(signal.SIGALRM, raise_timeout)  # for each job: a callback may have changed it
        armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return handler(job)
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    return timeout_handler


def limit_address_space(memory_limit_mb: int) -> None:
    """Bound this process's address space, as a backstop to the limit on resident memory."""
    most = address_space_bytes() + 2 * memory_limit_mb * MIB
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
