"""The limit that a worker enforces on itself: its timeout.

The supervisor enforces all limits from outside (pool/limits.py), for code that is stuck in C.
"""

import signal
from types import FrameType

from taskmaster.errors import JobTimeout
from taskmaster.job import Job, Outcome
from taskmaster.middleware import Handler


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
