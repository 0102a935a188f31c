"""The metrics about the supervisor, its workers and the queues. New metrics go here.

The metrics of the runs are counted in the workers, by the middleware `metrics`, and read from their
files by worker_metrics.py.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from taskmaster.processes.ipc.snapshot import QueueState, Snapshot
from taskmaster.processes.system.proc import MIB, resident_bytes
from taskmaster.store.stats import QueueStats
from taskmaster.version import VERSION

# Present from the start, because Prometheus sees no increase in a series that begins with 1.
COMMON_CAUSES = (
    "exit code 0",
    "exit code 1",
    "shutdown",
    "signal SIGKILL",
    "signal SIGSEGV",
    "signal SIGABRT",
    "timeout",
    "memory limit",
    "cpu limit",
    "out of memory",
)
WAKEUP_SOURCES = ("notify", "heartbeat", "reconnect")
WORKER_STATES = ("booting", "idle", "busy", "vacant")


def build_info() -> Iterator[Metric]:
    """Yield the versions of taskmaster and Python."""
    labels = {"version": VERSION, "python": platform.python_version()}
    text = "Always 1, with the versions of taskmaster and Python as labels."
    family = GaugeMetricFamily("taskmaster_build_info", text, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    yield family


def supervisor_up(is_up: bool) -> Metric:
    """Return the metric for whether the supervisor replies."""
    text = "Whether the supervisor's loop has replied in time, 1 or 0."
    return GaugeMetricFamily("taskmaster_supervisor_up", text, value=is_up)


def of_supervisor(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the supervisor itself."""
    yield GaugeMetricFamily(
        "taskmaster_listener_up",
        "Whether the LISTEN connection is open, 1 or 0.",
        value=snapshot.listener_up,
    )
    yield GaugeMetricFamily(
        "taskmaster_database_up",
        "Whether the supervisor's own connection is open, 1 or 0.",
        value=snapshot.database_up,
    )
    yield CounterMetricFamily(
        "taskmaster_rescued_jobs",
        "Number of jobs released from supervisors that were gone.",
        value=snapshot.rescued,
    )
    text = "Number of wakeups sent to workers, by source."
    wakeups = CounterMetricFamily("taskmaster_wakeups", text, labels=["source"])
    for source, times in {**dict.fromkeys(WAKEUP_SOURCES, 0), **snapshot.wakeups}.items():
        wakeups.add_metric([source], times)
    yield wakeups


def of_workers(queues: Sequence[QueueState]) -> Iterator[Metric]:
    """Yield the metrics of the workers, as the supervisor sees them."""
    yield _workers(queues)
    yield _exits(queues)
    yield _claims(queues)
    yield _by_queue(
        "taskmaster_jobs_running", "Number of jobs running now.", queues, lambda q: q.running
    )
    yield from _memory(queues)
    text = "Number of batches that could not be settled because other supervisors had rescued them."
    lost = CounterMetricFamily("taskmaster_lost_leases", text, labels=["queue"])
    for queue in queues:
        lost.add_metric([queue.name], queue.lost_leases)
    yield lost


def of_queues(stats: Mapping[str, QueueStats]) -> Iterator[Metric]:
    """Yield the metrics of the queues, as the store counts them."""
    text = "Number of jobs by state, counted up to a million."
    jobs = GaugeMetricFamily("taskmaster_queue_jobs", text, labels=["queue", "state"])
    text = "Age of the oldest ready job in seconds, 0 if there is none."
    oldest = GaugeMetricFamily("taskmaster_queue_oldest_seconds", text, labels=["queue"])
    for name, queue in stats.items():
        for state, count in queue.jobs.items():
            jobs.add_metric([name, state], count)
        oldest.add_metric([name], queue.oldest_seconds or 0.0)
    yield from (jobs, oldest)


def of_jobs_without_supervisor(jobs_by_queue: Mapping[str, int]) -> Metric:
    """Return the metric of the queues that no supervisor serves."""
    text = "Number of ready and scheduled jobs of a queue that no supervisor serves."
    family = GaugeMetricFamily("taskmaster_unserved_queue_jobs", text, labels=["queue"])
    for name, jobs in jobs_by_queue.items():
        family.add_metric([name], jobs)
    return family


def _workers(queues: Sequence[QueueState]) -> Metric:
    text = "Number of worker slots by state."
    family = GaugeMetricFamily("taskmaster_workers", text, labels=["queue", "state"])
    for queue in queues:
        for state in WORKER_STATES:
            family.add_metric([queue.name, state], getattr(queue, state))
    return family


def _exits(queues: Sequence[QueueState]) -> Metric:
    text = "Number of worker exits by cause."
    family = CounterMetricFamily("taskmaster_worker_exits", text, labels=["queue", "cause"])
    for queue in queues:
        for cause, times in {**dict.fromkeys(COMMON_CAUSES, 0), **queue.exits}.items():
            family.add_metric([queue.name, cause], times)
    return family


def _claims(queues: Sequence[QueueState]) -> Metric:
    text = "Number of claims by result: whether they found jobs."
    family = CounterMetricFamily("taskmaster_claims", text, labels=["queue", "result"])
    for queue in queues:
        family.add_metric([queue.name, "found"], queue.found)
        family.add_metric([queue.name, "empty"], queue.empty)
    return family


def _memory(queues: Sequence[QueueState]) -> Iterator[Metric]:
    resident = {queue.name: [resident_bytes(pid) for pid in queue.pids] for queue in queues}
    yield _by_queue(
        "taskmaster_worker_resident_bytes",
        "Resident memory of all workers together.",
        queues,
        lambda queue: sum(resident[queue.name]),
    )
    yield _by_queue(
        "taskmaster_worker_largest_resident_bytes",
        "Resident memory of the largest worker.",
        queues,
        lambda queue: max(resident[queue.name], default=0),
    )
    yield _by_queue(
        "taskmaster_worker_memory_limit_bytes",
        "Resident memory that one worker may use while a job runs.",
        [queue for queue in queues if queue.memory_limit_mb is not None],
        lambda queue: (queue.memory_limit_mb or 0) * MIB,
    )


def _by_queue(
    name: str, text: str, queues: Sequence[QueueState], value: Callable[[QueueState], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["queue"])
    for queue in queues:
        family.add_metric([queue.name], value(queue))
    return family
