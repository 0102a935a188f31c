"""Wait statuses and exit codes in words: `exit code 3`, `signal SIGKILL`."""

import os
import signal


def describe_status(status: int) -> str:
    """Return a wait status, as `os.waitpid` returns it, in words."""
    return describe_exit_code(os.waitstatus_to_exitcode(status))


def describe_exit_code(code: int) -> str:
    """Return an exit code in words. A negative code is the number of a signal (`subprocess`)."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"
