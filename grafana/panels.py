"""The rows and panels of the dashboard, with their units and PromQL expressions."""

from typing import Literal, NamedTuple

ONE = '{instance=~"$instance"}'
QUEUE = '{queue=~"$queue",instance=~"$instance"}'
BUSY = '{queue=~"$queue",instance=~"$instance",state="busy"}'
INTERVAL = "[$__rate_interval]"

Kind = Literal["lines", "stack", "heatmap", "state", "health"]


class Target(NamedTuple):
    """One PromQL expression, and the label of its lines."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel. `description` is the text behind its information icon."""

    title: str
    description: str
    unit: str
    targets: list[Target]
    kind: Kind = "lines"


def rate(metric: str, *, by: str, labels: str = QUEUE) -> str:
    """Return the expression for a counter's rate, summed by some labels."""
    return f"sum by ({by}) (rate({metric}{labels}{INTERVAL}))"


def increase(metric: str, *, by: str) -> str:
    """Return the expression for a counter's increase, summed by some labels."""
    return f"sum by ({by}) (increase({metric}{QUEUE}{INTERVAL}))"


def quantile(share: float, metric: str) -> str:
    """Return the expression for a quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', by='le')})"


HEALTH = [
    Panel(
        title="Scraped, supervisor, listener, database",
        description="All are on if all is well. Without LISTEN, workers find jobs within a second.",
        unit="bool_on_off",
        targets=[
            Target('min(up{job="taskmaster",instance=~"$instance"})', "scraped"),
            Target(f"min(taskmaster_listener_up{ONE})", "listener"),
            Target(f"min(taskmaster_database_up{ONE})", "database"),
            Target(f"min(taskmaster_supervisor_up{ONE})", "supervisor"),
        ],
        kind="health",
    ),
    Panel(
        title="Workers busy",
        description="Share of the workers that are claiming or running jobs now.",
        unit="percentunit",
        targets=[Target(f"sum(taskmaster_workers{BUSY}) / sum(taskmaster_workers{QUEUE})", "busy")],
        kind="state",
    ),
    Panel(
        title="Running versions",
        description="Supervisors by the version that they run.",
        unit="short",
        targets=[Target(f"count by (version) (taskmaster_build_info{ONE})", "{{version}}")],
        kind="state",
    ),
]
THROUGHPUT = [
    Panel(
        title="Runs by outcome",
        description="error: the callback raised. The job is retried, or rejected after max_runs.",
        unit="ops",
        targets=[Target(rate("taskmaster_jobs_total", by="outcome"), "{{outcome}}")],
        kind="stack",
    ),
    Panel(
        title="Runs by queue",
        description="Runs of each queue, with any outcome.",
        unit="ops",
        targets=[Target(rate("taskmaster_jobs_total", by="queue"), "{{queue}}")],
        kind="stack",
    ),
    Panel(
        title="Jobs running",
        description="Jobs that are running now, by queue.",
        unit="short",
        targets=[Target(f"sum by (queue) (taskmaster_jobs_running{QUEUE})", "{{queue}}")],
    ),
]
QUEUES = [
    Panel(
        title="Queue depth",
        description="Jobs by state, counted to a million, and jobs that no supervisor serves.",
        unit="short",
        targets=[
            Target(f"max by (queue, state) (taskmaster_queue_jobs{QUEUE})", "{{queue}} {{state}}"),
            Target(
                f"max by (queue) (taskmaster_unserved_queue_jobs{ONE})", "{{queue}} no supervisor"
            ),
        ],
    ),
    Panel(
        title="Oldest ready job",
        description="How long the oldest ready job of each queue has waited.",
        unit="s",
        targets=[Target(f"max by (queue) (taskmaster_queue_oldest_seconds{QUEUE})", "{{queue}}")],
    ),
    Panel(
        title="Pick-up latency",
        description="Time from the moment when a job was ready to its start.",
        unit="s",
        targets=[
            Target(quantile(0.5, "taskmaster_job_wait_seconds"), "p50"),
            Target(quantile(0.95, "taskmaster_job_wait_seconds"), "p95"),
            Target(quantile(0.99, "taskmaster_job_wait_seconds"), "p99"),
        ],
    ),
]
RUNS = [
    Panel(
        title="Duration",
        description="Number of runs by how long they took.",
        unit="s",
        targets=[
            Target(increase("taskmaster_job_duration_seconds_bucket", by="le"), "{{le}}"),
        ],
        kind="heatmap",
    ),
    Panel(
        title="Duration, quantiles",
        description="Duration of a run, over all selected queues.",
        unit="s",
        targets=[
            Target(quantile(0.5, "taskmaster_job_duration_seconds"), "p50"),
            Target(quantile(0.99, "taskmaster_job_duration_seconds"), "p99"),
        ],
    ),
    Panel(
        title="CPU by queue",
        description="Number of cores that callbacks use.",
        unit="short",
        targets=[Target(rate("taskmaster_job_cpu_seconds_total", by="queue"), "{{queue}}")],
        kind="stack",
    ),
]
WORKERS = [
    Panel(
        title="Workers by state",
        description="vacant: the worker has exited and its replacement has not started yet.",
        unit="short",
        targets=[Target(f"sum by (state) (taskmaster_workers{QUEUE})", "{{state}}")],
        kind="stack",
    ),
    Panel(
        title="Memory by queue",
        description="Resident memory of all workers of a queue, and of its largest worker.",
        unit="bytes",
        targets=[
            Target(f"sum by (queue) (taskmaster_worker_resident_bytes{QUEUE})", "{{queue}}"),
            Target(
                f"max by (queue) (taskmaster_worker_largest_resident_bytes{QUEUE})",
                "{{queue}}, largest",
            ),
        ],
    ),
    Panel(
        title="Exits by cause",
        description="Worker exits. Exit code 0 is a normal one.",
        unit="short",
        targets=[
            Target(
                increase("taskmaster_worker_exits_total", by="queue, cause"), "{{queue}} {{cause}}"
            )
        ],
        kind="stack",
    ),
]
CLAIMING = [
    Panel(
        title="Claims",
        description="Claims by whether they found a job.",
        unit="ops",
        targets=[Target(rate("taskmaster_claims_total", by="result"), "{{result}}")],
    ),
    Panel(
        title="Wakeups",
        description="Wakeups sent to workers because of a NOTIFY or by the heartbeat.",
        unit="ops",
        targets=[
            Target(rate("taskmaster_wakeups_total", by="source", labels=ONE), "{{source}}"),
        ],
    ),
    Panel(
        title="Leases lost, jobs rescued",
        description=(
            "Batches that another supervisor took over before they were settled, and jobs released "
            "for supervisors that were gone."
        ),
        unit="short",
        targets=[
            Target(f"sum(increase(taskmaster_lost_leases_total{QUEUE}{INTERVAL}))", "lost leases"),
            Target(f"sum(increase(taskmaster_rescued_jobs_total{ONE}{INTERVAL}))", "rescued jobs"),
        ],
    ),
]
ROWS = {
    "Health": HEALTH,
    "Throughput": THROUGHPUT,
    "Queues": QUEUES,
    "Runs": RUNS,
    "Workers": WORKERS,
    "Claiming": CLAIMING,
}
