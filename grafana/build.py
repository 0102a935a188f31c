"""Writes dashboards/taskmaster.json: `.venv/bin/python grafana/build.py`. The tests check that it is fresh.

A panel is a line or two of PANELS: what it shows, in which unit, from which expressions.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = Path(__file__).parent / "dashboards" / "taskmaster.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="taskmaster-prometheus")
WIDTH, HEIGHT = 8, 8  # three in a row of Grafana's 24 columns
ONE = '{instance=~"$instance"}'
QUEUE = '{queue=~"$queue",instance=~"$instance"}'


Kind = Literal["lines", "stack", "heatmap", "state", "health"]


class Target(NamedTuple):
    expr: str
    legend: str


class Panel(NamedTuple):
    title: str
    description: str
    unit: str
    targets: list[Target]
    kind: Kind = "lines"


def quantile(share: float, metric: str) -> str:
    return (
        f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{QUEUE}[$__rate_interval])))"
    )


ROWS: dict[str, list[Panel]] = {
    "Is it well?": [
        Panel(
            "Scraped, supervisor, listener, database",
            "On: everywhere. Without LISTEN jobs are found by looking, within a second.",
            "bool_on_off",
            [
                Target('min(up{job="taskmaster",instance=~"$instance"})', "scraped"),
                Target(f"min(taskmaster_listener_up{ONE})", "listener"),
                Target(f"min(taskmaster_database_up{ONE})", "database"),
                Target(f"min(taskmaster_supervisor_up{ONE})", "supervisor"),
            ],
            "health",
        ),
        Panel(
            "Workers busy",
            "Of all workers, those that claim or run at this moment.",
            "percentunit",
            [
                Target(
                    f'sum(taskmaster_workers{QUEUE[:-1]},state="busy"}}) / sum(taskmaster_workers{QUEUE})',
                    "busy",
                )
            ],
            "state",
        ),
        Panel(
            "Running versions",
            "Supervisors by version.",
            "short",
            [Target(f"count by (version) (taskmaster_build_info{ONE})", "{{version}}")],
            "state",
        ),
    ],
    "Throughput": [
        Panel(
            "Runs by outcome",
            "error: the callback raised; retried or rejected by the queue's policy.",
            "ops",
            [
                Target(
                    f"sum by (outcome) (rate(taskmaster_jobs_total{QUEUE}[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            "stack",
        ),
        Panel(
            "Runs by queue",
            "All outcomes together.",
            "ops",
            [
                Target(
                    f"sum by (queue) (rate(taskmaster_jobs_total{QUEUE}[$__rate_interval]))",
                    "{{queue}}",
                )
            ],
            "stack",
        ),
        Panel(
            "Jobs running",
            "At this moment, by queue.",
            "short",
            [Target(f"sum by (queue) (taskmaster_jobs_running{QUEUE})", "{{queue}}")],
        ),
    ],
    "Queues": [
        Panel(
            "Queue depth",
            "Jobs by state, counted to a million each.",
            "short",
            [
                Target(
                    f"max by (queue, state) (taskmaster_queue_jobs{QUEUE})", "{{queue}} {{state}}"
                )
            ],
        ),
        Panel(
            "Oldest ready job",
            "How long the oldest job that could run has waited.",
            "s",
            [Target(f"max by (queue) (taskmaster_queue_oldest_seconds{QUEUE})", "{{queue}}")],
        ),
        Panel(
            "Pick-up latency",
            "From the moment when a job could run to its start.",
            "s",
            [
                Target(quantile(0.5, "taskmaster_job_wait_seconds"), "p50"),
                Target(quantile(0.95, "taskmaster_job_wait_seconds"), "p95"),
                Target(quantile(0.99, "taskmaster_job_wait_seconds"), "p99"),
            ],
        ),
    ],
    "Runs": [
        Panel(
            "Duration",
            "How many runs took how long.",
            "s",
            [
                Target(
                    f"sum by (le) (increase(taskmaster_job_duration_seconds_bucket{QUEUE}[$__rate_interval]))",
                    "{{le}}",
                )
            ],
            "heatmap",
        ),
        Panel(
            "Duration, quantiles",
            "All queues that are chosen, together.",
            "s",
            [
                Target(quantile(0.5, "taskmaster_job_duration_seconds"), "p50"),
                Target(quantile(0.99, "taskmaster_job_duration_seconds"), "p99"),
            ],
        ),
        Panel(
            "CPU by queue",
            "Cores that callbacks keep busy.",
            "short",
            [
                Target(
                    f"sum by (queue) (rate(taskmaster_job_cpu_seconds_total{QUEUE}[$__rate_interval]))",
                    "{{queue}}",
                )
            ],
            "stack",
        ),
    ],
    "Workers": [
        Panel(
            "Workers by state",
            "vacant: its worker is still to be replaced.",
            "short",
            [Target(f"sum by (state) (taskmaster_workers{QUEUE})", "{{state}}")],
            "stack",
        ),
        Panel(
            "Memory by queue",
            "Resident memory of all workers, and of the largest one.",
            "bytes",
            [
                Target(f"sum by (queue) (taskmaster_worker_resident_bytes{QUEUE})", "{{queue}}"),
                Target(
                    f"max by (queue) (taskmaster_worker_largest_resident_bytes{QUEUE})",
                    "{{queue}}, largest",
                ),
            ],
        ),
        Panel(
            "Exits by cause",
            "Ended workers; exit code 0: in order.",
            "short",
            [
                Target(
                    f"sum by (queue, cause) (increase(taskmaster_worker_exits_total{QUEUE}[$__rate_interval]))",
                    "{{queue}} {{cause}}",
                )
            ],
            "stack",
        ),
    ],
    "Claiming": [
        Panel(
            "Claims",
            "Looks for jobs, by whether they found any.",
            "ops",
            [
                Target(
                    f"sum by (result) (rate(taskmaster_claims_total{QUEUE}[$__rate_interval]))",
                    "{{result}}",
                )
            ],
        ),
        Panel(
            "Wakeups",
            "Workers told to look: by NOTIFY, or by the heartbeat's second look.",
            "ops",
            [
                Target(
                    f"sum by (source) (rate(taskmaster_wakeups_total{ONE}[$__rate_interval]))",
                    "{{source}}",
                )
            ],
        ),
        Panel(
            "Leases lost, jobs rescued",
            "Batches settled too late, because others had them; jobs of supervisors that were gone.",
            "short",
            [
                Target(
                    f"sum(increase(taskmaster_lost_leases_total{QUEUE}[$__rate_interval]))",
                    "lost leases",
                ),
                Target(
                    f"sum(increase(taskmaster_rescued_jobs_total{ONE}[$__rate_interval]))",
                    "rescued jobs",
                ),
            ],
        ),
    ],
}


def built() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("taskmaster")
        .uid("taskmaster")
        .tags(["taskmaster"])
        .description("Background jobs on Postgres: throughput, queues, runs and workers.")
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(variable("instance", "Instance", "taskmaster_build_info"))
        .with_variable(variable("queue", "Queue", "taskmaster_workers"))
    )
    number = 0
    for title, panels in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            number += 1
            board.with_panel(drawn(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def variable(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


Drawn = timeseries.Panel | heatmap.Panel | stat.Panel


def drawn(panel: Panel) -> Drawn:
    made: Drawn
    match panel.kind:
        case "heatmap":
            made = heatmap.Panel().calculate(False).y_axis(heatmap.YAxisConfig().unit(panel.unit))
            made.cell_values(heatmap.CellValues().unit("short"))
        case "state" | "health":
            made = now(is_health=panel.kind == "health")
        case _:
            made = lines(stacked=panel.kind == "stack")
    made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    made.span(WIDTH).height(HEIGHT)
    for number, target in enumerate(panel.targets):
        made.with_target(asked(target, chr(ord("A") + number), panel.kind))
    return made


def now(*, is_health: bool) -> stat.Panel:
    """The last value; of what is well or not, in green or red."""
    made = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if not is_health:
        return made.color_mode(BigValueColorMode.NONE)
    steps = [Threshold(value=None, color="red"), Threshold(value=1.0, color="green")]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return made.color_mode(BigValueColorMode.BACKGROUND).thresholds(thresholds)


def lines(*, stacked: bool) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
    )
    made = timeseries.Panel().min(0).legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
    made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    return made


def asked(target: Target, ref_id: str, kind: Kind) -> prometheus.Dataquery:
    query = (
        prometheus.Dataquery()
        .expr(target.expr)
        .legend_format(target.legend)
        .ref_id(ref_id)
        .datasource(SOURCE)
    )
    match kind:
        case "heatmap":
            return query.format(PromQueryFormat.HEATMAP)
        case (
            "state" | "health"
        ):  # of now: the last value of a range would stand long after the last scrape
            return query.instant()
        case _:
            return query


if __name__ == "__main__":
    FILE.write_text(built())
