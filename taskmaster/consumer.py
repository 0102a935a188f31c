"""What a consumer is: one queue, its callback, how many at once, and how failure is treated."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

from taskmaster.errors import InvalidConfig, InvalidJob
from taskmaster.job import Job, Outcome
from taskmaster.middleware import Middleware
from taskmaster.validation import check_queue_name

Callback = Callable[[Job], Outcome | None]
Component = Callable[[], AbstractContextManager[Any]]
MiddlewareSpec = (
    str
    | Mapping[str, Any]
    | Middleware
    | Callable[..., Middleware | AbstractContextManager[Middleware]]
)

Delivery = Literal["at_least_once", "at_most_once", "transactional"]
DELIVERIES = get_args(Delivery)
MAX_BATCH = 500
MAX_CONCURRENCY = 1000


@dataclass(frozen=True, slots=True)
class Consumer:
    """One queue and what to do with its jobs.

    `callback` and `component` are objects, or "module:name", imported in the template process.
    `component` is called in each worker after the fork; what its context manager yields is `job.component`.
    `concurrency` is how many worker processes run its jobs, one job each at a time.
    `middleware` is outermost first: a function, "module:name", the name of an entry point in the group
    `taskmaster.middleware`, or a table `{"use": name, …options}`.
    `max_runs` counts runs the job itself answers for; `max_crashes` those that killed their worker.
    `timeout_seconds`: JobTimeout is raised in a callback that runs longer; when it still runs `kill_after_seconds`
    later, its worker is killed, in C code too. `memory_limit_mb`: a worker whose resident memory is larger while a job
    runs is killed. `cpu_limit_seconds`: so is one whose job has used more CPU. None: no limit.
    `max_jobs_per_worker`, `max_memory_per_worker_mb`: a worker that has run so many jobs, or has so much resident
    memory after one, is replaced between jobs; one at a time, so it may run a few more until its turn comes.
    `nice` is added to the workers' niceness; `cpu_affinity` lists the CPUs that they may use; empty: all.
    `delivery`: "at_least_once"; "at_most_once" for what must never run twice; "transactional" for callbacks that
    write through `job.connection`, in the transaction that also ends the job.
    `batch` is how many jobs one claim takes: "auto" claims about 20 ms of work, and one job where the delivery is not
    "at_least_once".

    Raises InvalidConfig, naming the key and what is allowed.

    >>> Consumer("thumbnails", callback="images:thumbnail", concurrency=4).max_runs
    5
    """

    queue_name: str
    callback: Callback | str
    _: KW_ONLY
    component: Component | str | None = None
    concurrency: int = 1
    middleware: Sequence[MiddlewareSpec] = ()
    delivery: Delivery = "at_least_once"
    max_runs: int = 5
    max_crashes: int = 3
    retry_base_seconds: float = 5.0
    retry_max_seconds: float = 3600.0
    timeout_seconds: float | None = None
    kill_after_seconds: float = 5.0
    memory_limit_mb: int | None = None
    cpu_limit_seconds: float | None = None
    max_jobs_per_worker: int | None = None
    max_memory_per_worker_mb: int | None = None
    nice: int = 0
    cpu_affinity: Sequence[int] = ()
    batch: int | Literal["auto"] = "auto"

    @property
    def limited(self) -> bool:
        """Is there a limit for the supervisor to watch?"""
        return not (self.timeout_seconds is self.memory_limit_mb is self.cpu_limit_seconds is None)

    @property
    def once(self) -> bool:
        """Must its jobs never run twice?"""
        return self.delivery == "at_most_once"

    @property
    def transactional(self) -> bool:
        """Return True if its jobs run in a transaction."""
        return self.delivery == "transactional"

    def __post_init__(self) -> None:
        try:
            check_queue_name(self.queue_name)
        except InvalidJob as error:
            raise InvalidConfig(f"queue_name: {error}") from None
        if not isinstance(self.callback, str) and not callable(self.callback):
            raise InvalidConfig(
                f'callback must be a function or "module:name", got {self.callback!r}'
            )
        if (
            self.component is not None
            and not isinstance(self.component, str)
            and not callable(self.component)
        ):
            raise InvalidConfig(
                f'component must be a context manager\'s function or "module:name", got {self.component!r}'
            )
        _check_choice("delivery", self.delivery, DELIVERIES)
        _check_whole("concurrency", self.concurrency, 1, MAX_CONCURRENCY)
        _check_whole("max_runs", self.max_runs, 1, 10_000)
        _check_whole("max_crashes", self.max_crashes, 1, 10_000)
        _check_seconds("retry_base_seconds", self.retry_base_seconds)
        _check_seconds("retry_max_seconds", self.retry_max_seconds)
        _check_limit("timeout_seconds", self.timeout_seconds)
        _check_seconds("kill_after_seconds", self.kill_after_seconds)
        if self.memory_limit_mb is not None:
            _check_whole("memory_limit_mb", self.memory_limit_mb, 1, 10_000_000)
        _check_limit("cpu_limit_seconds", self.cpu_limit_seconds)
        if self.max_jobs_per_worker is not None:
            _check_whole("max_jobs_per_worker", self.max_jobs_per_worker, 1, 10**12)
        if self.max_memory_per_worker_mb is not None:
            _check_whole("max_memory_per_worker_mb", self.max_memory_per_worker_mb, 1, 10_000_000)
        _check_whole("nice", self.nice, -20, 19)
        _check_cpus("cpu_affinity", self.cpu_affinity)
        if self.batch != "auto":
            _check_whole("batch", self.batch, 1, MAX_BATCH, otherwise=' or "auto"')
        if self.transactional and self.batch not in ("auto", 1):
            raise InvalidConfig(
                f"batch must be 1 with delivery = 'transactional', got {self.batch!r}"
            )


def _check_whole(key: str, value: object, low: int, high: int, *, otherwise: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidConfig(
            f"{key} must be a whole number from {low} to {high}{otherwise}, got {value!r}"
        )


def _check_seconds(key: str, value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 10 * 366 * 86_400
    ):
        raise InvalidConfig(f"{key} must be a number of seconds from 0 to ten years, got {value!r}")


def _check_limit(key: str, value: object) -> None:
    """A limit of 0 would let nothing run."""
    if value is not None:
        _check_seconds(key, value)
        if value == 0:
            raise InvalidConfig(f"{key} must be more than 0 seconds; leave it out for no limit")


def _check_cpus(key: str, value: object) -> None:
    numbers = (
        value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [None]
    )
    if not all(isinstance(cpu, int) and not isinstance(cpu, bool) and cpu >= 0 for cpu in numbers):
        raise InvalidConfig(f"{key} must be a list of CPU numbers, like [0, 1], got {value!r}")


def _check_choice(key: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidConfig(f"{key} must be one of {', '.join(map(repr, choices))}, got {value!r}")
