"""The reporter process: it reports crashes through the middlewares' crash reporters.

The middlewares themselves were killed with their worker. The template forks a reporter when there
are crashes to report.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import msgspec
from setproctitle import setproctitle

from taskmaster.middleware import CrashReport, CrashReporter
from taskmaster.processes.worker.prepared import Prepared

log = logging.getLogger("taskmaster.reporter")


def main(prepared: Sequence[Prepared], crashes_fd: int) -> int:
    """Report each crash to the crash reporters of its consumer. Return the exit code.

    The supervisor kills a reporter that hangs.
    """
    setproctitle("taskmaster reporter")
    os.lseek(crashes_fd, 0, os.SEEK_SET)
    with os.fdopen(crashes_fd, "rb") as file:
        crashes = msgspec.json.decode(file.read(), type=list[CrashReport])
    for one in prepared:
        own = [crash for crash in crashes if crash.queue_name == one.consumer.queue_name]
        if own:
            _report(one, own)
    return 0


def _report(prepared: Prepared, crashes: Sequence[CrashReport]) -> None:
    for make in prepared.crash_reporters:
        try:
            with ExitStack() as stack:
                made = make()
                report: CrashReporter = (
                    stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
                )
                for crash in crashes:
                    report(crash)
        except Exception:
            log.exception("crash report failed: %s", prepared.where)
