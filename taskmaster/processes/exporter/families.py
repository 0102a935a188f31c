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
        "taskmaster_build_info",
        "Constant 1, labelled with the versions of taskmaster and Python.",
        labels=list(labels),
    )
    family.add_metric(list(labels.values()), 1)
    yield family


def supervisor_up(is_up: bool) -> Metric:
    return _gauge(
        "taskmaster_supervisor_up",
        "Whether the supervisor responded to the exporter within 2 seconds.",
        is_up,
    )


def of_supervisor(snapshot: Snapshot) -> Iterator[Metric]:
    """What the supervisor knows of itself."""
    yield _gauge(
        "taskmaster_listener_up",
        "Whether the supervisor's LISTEN connection is up.",
        snapshot.listener_up,
    )
    yield _gauge(
        "taskmaster_database_up",
        "Whether the supervisor's database connection is up.",
        snapshot.database_up,
    )
    yield CounterMetricFamily(
        "taskmaster_rescued_jobs",
        "Number of jobs released for supervisors that were gone.",
        value=snapshot.rescued,
    )
    wakeups = CounterMetricFamily(
        "taskmaster_wakeups", "Number of wakeups sent to workers, by source.", labels=["source"]
    )
    for source, times in {**dict.fromkeys(WAKEUP_SOURCES, 0), **snapshot.wakeups}.items():
        wakeups.add_metric([source], times)
    yield wakeups


def of_workers(queues: Sequence[QueueState]) -> Iterator[Metric]:
    """What the supervisor knows of its workers."""
    workers = GaugeMetricFamily(
        "taskmaster_workers",
        "Number of worker slots, by queue and state.",
        labels=["queue", "state"],
    )
    exits = CounterMetricFamily(
        "taskmaster_worker_exits",
        "Number of worker exits, by queue and cause.",
        labels=["queue", "cause"],
    )
    claims = CounterMetricFamily(
        "taskmaster_claims",
        "Number of claims, by queue and by whether they found jobs.",
        labels=["queue", "result"],
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
        "jobs_running", "Number of jobs that are running now.", queues, lambda queue: queue.running
    )
    resident = {queue.name: [resident_bytes(pid) for pid in queue.pids] for queue in queues}
    yield _by_queue(
        "worker_resident_bytes",
        "Resident memory of all workers of the queue.",
        queues,
        lambda q: sum(resident[q.name]),
    )
    yield _by_queue(
        "worker_largest_resident_bytes",
        "Resident memory of the queue's largest worker.",
        queues,
        lambda q: max(resident[q.name], default=0),
    )
    limited = [queue for queue in queues if queue.memory_limit_mb is not None]
    yield _by_queue(
        "worker_memory_limit_bytes",
        "Memory limit of one worker, for queues that have one.",
        limited,
        lambda q: (q.memory_limit_mb or 0) * MIB,
    )
    lost = CounterMetricFamily(
        "taskmaster_lost_leases",
        "Number of batches that were taken over before they were settled.",
        labels=["queue"],
    )
    for queue in queues:
        lost.add_metric([queue.name], queue.lost_leases)
    yield lost


def of_queues(figures: Mapping[str, QueueStats]) -> Iterator[Metric]:
    """What the store knows."""
    jobs = GaugeMetricFamily(
        "taskmaster_queue_jobs",
        "Number of jobs, by queue and state, counted to a million each.",
        labels=["queue", "state"],
    )
    oldest = GaugeMetricFamily(
        "taskmaster_queue_oldest_seconds",
        "Time that the oldest ready job has waited.",
        labels=["queue"],
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
