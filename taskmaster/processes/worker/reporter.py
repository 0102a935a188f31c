"""The process that tells middlewares of crashes, which they could not see: the worker was killed with them."""

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import msgspec
from setproctitle import setproctitle

from taskmaster.middleware import CrashReport, CrashReporter
from taskmaster.processes.worker.main import Prepared

log = logging.getLogger("taskmaster.reporter")


def main(prepared: Sequence[Prepared], crashes_fd: int) -> int:
    """Tell the crash reporters of each crash's consumer; the exit code. The supervisor ends a reporter that hangs."""
    setproctitle("taskmaster reporter")
    os.lseek(crashes_fd, 0, os.SEEK_SET)
    with os.fdopen(crashes_fd, "rb") as file:
        crashes = msgspec.json.decode(file.read(), type=list[CrashReport])
    for one in prepared:
        mine = [crash for crash in crashes if crash.queue_name == one.consumer.queue_name]
        if mine:
            _report(one, mine)
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
            log.exception("%s: a crash reporter failed", prepared.where)
