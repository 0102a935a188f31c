"""The end of a worker: what it leaves to whoever settles for it."""

from typing import NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.processes.shared import limits
from taskmaster.processes.shared.scoreboard import Claims, UnsettledBatch


class Usage(NamedTuple):
    """What a process has used in its life, as the kernel says when it is waited for."""

    peak_mb: float = 0.0
    cpu_ns: int = 0


class WorkerExit(NamedTuple):
    """One worker's end. `cut_off`: the supervisor ended it, so nobody is charged. Times are monotonic.

    `excess`: the limit for which the supervisor ended it; `stack`: what it wrote of its stack then; `printed`: what
    its last run wrote to standard output and error; `backend`: the server process that served it.
    """

    consumer: Consumer
    worker: str
    pid: int
    cause: str
    cut_off: bool
    unsettled_batch: UnsettledBatch | None
    died_ns: int
    usage: Usage = Usage()
    excess: limits.Excess | None = None
    stack: str | None = None
    printed: tuple[str, str] = ("", "")
    backend: int = 0
    lost_leases: int = 0
    claims: Claims = Claims()
