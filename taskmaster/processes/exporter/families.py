"""What is exported beside the workers' own counts: the metrics that the supervisor and the store know."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from taskmaster.processes.shared.limits import MIB, resident_bytes
from taskmaster.processes.shared.snapshot import QueueState, Snapshot
from taskmaster.store.stats import QueueStats

# Present from the start: of a series that begins with 1 Prometheus sees no increase.
COMMON_CAUSES = (
    "exit code 0",
    "exit code 1",
    "signal SIGKILL",
    "signal SIGSEGV",
    "signal SIGABRT",
    "timeout",
    "memory limit",
    "cpu limit",
    "out of memory",
)
WAKEUP_SOURCES = ("notify", "heartbeat")
WORKER_STATES = ("booting", "idle", "busy", "vacant")


def build_info() -> Iterator[Metric]:
    labels = {"version": version("taskmaster-pg"), "python": platform.python_version()}
    family = GaugeMetricFamily(
        "taskmaster_build_info", "1; the labels say what runs.", labels=list(labels)
    )
    family.add_metric(list(labels.values()), 1)
    yield family


def supervisor_up(is_up: bool) -> Metric:
    return _gauge(
        "taskmaster_supervisor_up", "Whether the supervisor's loop has answered in time.", is_up
    )


def of_supervisor(snapshot: Snapshot) -> Iterator[Metric]:
    """What the supervisor knows of itself."""
    yield _gauge(
        "taskmaster_listener_up", "Whether the LISTEN connection is up.", snapshot.listener_up
    )
    yield _gauge(
        "taskmaster_database_up", "Whether the supervisor's connection is up.", snapshot.database_up
    )
    yield CounterMetricFamily(
        "taskmaster_rescued_jobs",
        "Jobs given back of supervisors that were gone.",
        value=snapshot.rescued,
    )
    wakeups = CounterMetricFamily(
        "taskmaster_wakeups", "Workers told to look, by what told.", labels=["source"]
    )
    for source, times in {**dict.fromkeys(WAKEUP_SOURCES, 0), **snapshot.wakeups}.items():
        wakeups.add_metric([source], times)
    yield wakeups


def of_workers(queues: Sequence[QueueState]) -> Iterator[Metric]:
    """What the supervisor knows of its workers."""
    workers = GaugeMetricFamily(
        "taskmaster_workers", "Worker processes by state.", labels=["queue", "state"]
    )
    exits = CounterMetricFamily(
        "taskmaster_worker_exits", "Ended workers by cause.", labels=["queue", "cause"]
    )
    claims = CounterMetricFamily(
        "taskmaster_claims", "Claims by what they found.", labels=["queue", "result"]
    )
    for queue in queues:
        for state in WORKER_STATES:
            workers.add_metric([queue.name, state], getattr(queue, state))
        for cause, times in {**dict.fromkeys(COMMON_CAUSES, 0), **queue.exits}.items():
            exits.add_metric([queue.name, cause], times)
        claims.add_metric([queue.name, "found"], queue.found)
        claims.add_metric([queue.name, "empty"], queue.empty)
    yield from (workers, exits, claims)
    yield _by_queue(
        "jobs_running", "Jobs that run at this moment.", queues, lambda queue: queue.running
    )
    resident = {queue.name: [resident_bytes(pid) for pid in queue.pids] for queue in queues}
    yield _by_queue(
        "worker_resident_bytes",
        "Resident memory of the workers, together.",
        queues,
        lambda q: sum(resident[q.name]),
    )
    yield _by_queue(
        "worker_largest_resident_bytes",
        "That of the largest.",
        queues,
        lambda q: max(resident[q.name], default=0),
    )
    limited = [queue for queue in queues if queue.memory_limit_mb is not None]
    yield _by_queue(
        "worker_memory_limit_bytes",
        "What one worker may have.",
        limited,
        lambda q: (q.memory_limit_mb or 0) * MIB,
    )
    lost = CounterMetricFamily(
        "taskmaster_lost_leases", "Batches settled too late: others had them.", labels=["queue"]
    )
    for queue in queues:
        lost.add_metric([queue.name], queue.lost_leases)
    yield lost


def of_queues(figures: Mapping[str, QueueStats]) -> Iterator[Metric]:
    """What the store knows."""
    jobs = GaugeMetricFamily(
        "taskmaster_queue_jobs", "Jobs by state, counted to a million.", labels=["queue", "state"]
    )
    oldest = GaugeMetricFamily(
        "taskmaster_queue_oldest_seconds", "Age of the oldest ready job.", labels=["queue"]
    )
    for name, queue in figures.items():
        for state, count in queue.jobs.items():
            jobs.add_metric([name, state], count)
        oldest.add_metric([name], queue.oldest_seconds or 0.0)
    yield from (jobs, oldest)


def _by_queue(
    name: str, text: str, queues: Sequence[QueueState], value: Callable[[QueueState], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"taskmaster_{name}", text, labels=["queue"])
    for queue in queues:
        family.add_metric([queue.name], value(queue))
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
