"""A consumer: one queue, its callback, its concurrency, and the treatment of failures."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

from taskmaster.errors import InvalidConfig, InvalidJob
from taskmaster.job import Job, Outcome
from taskmaster.middleware import Middleware
from taskmaster.validation import check_queue_name, check_whole_number, display

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
TEN_YEARS_SECONDS = 10 * 366 * 86_400

WHOLE_NUMBERS = {
    "concurrency": (1, MAX_CONCURRENCY),
    "max_runs": (1, 10_000),
    "max_crashes": (1, 10_000),
    "nice": (-20, 19),
}
OPTIONAL_WHOLE_NUMBERS = {
    "memory_limit_mb": (1, 10_000_000),
    "max_jobs_per_worker": (1, 10**12),
    "max_memory_per_worker_mb": (1, 10_000_000),
}
DURATIONS = ("retry_base_seconds", "retry_max_seconds", "kill_after_seconds")
LIMITS = ("timeout_seconds", "cpu_limit_seconds")


@dataclass(frozen=True, slots=True)
class Consumer:
    """One queue and how to run its jobs.

    - `callback` and `component` are objects, or "module:name", which is imported in the template
      process. `component` is called in each worker after the fork. Its context manager yields
      `job.component`.
    - `concurrency` is the number of worker processes. Each runs one job at a time.
    - `middleware` lists the middlewares, outermost first: a function, "module:name", the name of an
      entry point in the group `taskmaster.middleware`, or a table `{"use": name, …options}`.
    - `delivery` is "at_least_once", "at_most_once" for jobs that must never run twice, or
      "transactional" for callbacks that write through `job.connection`, in the transaction that
      also ends the job.
    - `max_runs` counts the runs that are charged to the job, `max_crashes` those that ended with
      their worker.
    - `retry_base_seconds` doubles with each failed run, up to `retry_max_seconds`.
    - `timeout_seconds`: JobTimeout is raised in a callback that runs longer. If it still runs
      `kill_after_seconds` later, its worker is killed, in C code too.
    - `memory_limit_mb`: a worker with more resident memory during a job is killed.
      `cpu_limit_seconds`: a worker is killed if its job has used more CPU time. None is no limit.
    - `max_jobs_per_worker`, `max_memory_per_worker_mb`: a worker that has run that many jobs, or
      has that much resident memory after one, is replaced. Workers are replaced one at a time, so
      one may run a few more jobs before its turn.
    - `nice` is added to the workers' niceness. `cpu_affinity` lists the CPUs that they may use. An
      empty list allows all.
    - `batch` is the number of jobs that one claim takes. "auto" claims about 20 ms of work, and one
      job if the delivery is not "at_least_once".

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
    def has_limits(self) -> bool:
        """Return True if the supervisor has a limit to watch."""
        return not (self.timeout_seconds is self.memory_limit_mb is self.cpu_limit_seconds is None)

    @property
    def is_at_most_once(self) -> bool:
        """Return True if its jobs must never run twice."""
        return self.delivery == "at_most_once"

    @property
    def is_transactional(self) -> bool:
        """Return True if its jobs run in a transaction."""
        return self.delivery == "transactional"

    def __post_init__(self) -> None:
        self._check_names()
        self._check_numbers()
        _check_cpus("cpu_affinity", self.cpu_affinity)
        self._check_batch()

    def _check_names(self) -> None:
        try:
            check_queue_name(self.queue_name)
        except InvalidJob as error:
            raise InvalidConfig(f"queue_name: {error}") from None
        if not isinstance(self.callback, str) and not callable(self.callback):
            raise InvalidConfig(
                f'callback must be a function or "module:name", got {display(self.callback)}'
            )
        if not isinstance(self.component, str | None) and not callable(self.component):
            raise InvalidConfig(
                'component must be a context manager\'s function or "module:name", '
                f"got {display(self.component)}"
            )
        if self.delivery not in DELIVERIES:
            choices = ", ".join(map(repr, DELIVERIES))
            raise InvalidConfig(f"delivery must be one of {choices}, got {display(self.delivery)}")

    def _check_numbers(self) -> None:
        for key, (low, high) in WHOLE_NUMBERS.items():
            check_whole_number(key, getattr(self, key), low, high)
        for key, (low, high) in OPTIONAL_WHOLE_NUMBERS.items():
            if getattr(self, key) is not None:
                check_whole_number(key, getattr(self, key), low, high)
        for key in DURATIONS:
            _check_seconds(key, getattr(self, key))
        for key in LIMITS:
            _check_limit(key, getattr(self, key))

    def _check_batch(self) -> None:
        if self.batch != "auto":
            check_whole_number("batch", self.batch, 1, MAX_BATCH, otherwise=' or "auto"')
        if self.is_transactional and self.batch not in ("auto", 1):
            raise InvalidConfig(
                f"batch must be 1 with delivery = 'transactional', got {self.batch!r}"
            )


def _check_seconds(key: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= TEN_YEARS_SECONDS:
        raise InvalidConfig(
            f"{key} must be a number of seconds from 0 to ten years, got {display(value)}"
        )


def _check_limit(key: str, value: object) -> None:
    """Raise InvalidConfig for a limit of 0, which would let nothing run."""
    if value is not None:
        _check_seconds(key, value)
        if value == 0:
            raise InvalidConfig(f"{key} must be more than 0 seconds; leave it out for no limit")


def _check_cpus(key: str, value: Any) -> None:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not is_list or not all(_is_cpu(cpu) for cpu in value):
        raise InvalidConfig(
            f"{key} must be a list of CPU numbers, like [0, 1], got {display(value)}"
        )


def _is_cpu(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
