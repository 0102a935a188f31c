"""Write dashboards/taskmaster.json from panels.py: `.venv/bin/python -m grafana.build`.

A test fails if the file is not what this script writes.
"""

from pathlib import Path

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

from grafana.panels import ROWS, Kind, Panel, Target

FILE = Path(__file__).parent / "dashboards" / "taskmaster.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="taskmaster-prometheus")
WIDTH, HEIGHT = 8, 8  # three in a row of Grafana's 24 columns

PanelBuilder = timeseries.Panel | heatmap.Panel | stat.Panel


def board_json() -> str:
    """Return the dashboard as JSON."""
    board = empty_board()
    number = 0
    for title, panels in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            number += 1
            board.with_panel(build_panel(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def empty_board() -> dashboard.Dashboard:
    """Return the dashboard with its variables, without panels."""
    return (
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


def variable(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    """Return a variable that offers the values of a metric's label."""
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


def build_panel(panel: Panel) -> PanelBuilder:
    """Return the panel with its queries."""
    builder = visualization(panel)
    builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    builder.span(WIDTH).height(HEIGHT)
    for number, target in enumerate(panel.targets):
        builder.with_target(query(target, chr(ord("A") + number), panel.kind))
    return builder


def visualization(panel: Panel) -> PanelBuilder:
    """Return an empty panel of the right kind."""
    match panel.kind:
        case "heatmap":
            axis = heatmap.YAxisConfig().unit(panel.unit)
            cells = heatmap.CellValues().unit("short")
            return heatmap.Panel().calculate(False).y_axis(axis).cell_values(cells)
        case "state" | "health":
            return last_value(is_health=panel.kind == "health")
        case _:
            return lines(is_stacked=panel.kind == "stack")


def last_value(*, is_health: bool) -> stat.Panel:
    """Return a panel with the last value. One that shows health is green or red."""
    panel = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if not is_health:
        return panel.color_mode(BigValueColorMode.NONE)
    steps = [Threshold(value=None, color="red"), Threshold(value=1.0, color="green")]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.color_mode(BigValueColorMode.BACKGROUND).thresholds(thresholds)


def lines(*, is_stacked: bool) -> timeseries.Panel:
    """Return a panel with lines over time, and a legend with their last and largest values."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel = timeseries.Panel().min(0).legend(legend)
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    return panel


def query(target: Target, ref_id: str, kind: Kind) -> prometheus.Dataquery:
    """Return the query of one target."""
    builder = (
        prometheus.Dataquery()
        .expr(target.expr)
        .legend_format(target.legend)
        .ref_id(ref_id)
        .datasource(SOURCE)
    )
    match kind:
        case "heatmap":
            return builder.format(PromQueryFormat.HEATMAP)
        case "state" | "health":
            # An instant query: a range's last value stays long after the last scrape.
            return builder.instant()
        case _:
            return builder


if __name__ == "__main__":
    FILE.write_text(board_json())
