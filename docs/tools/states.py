"""Draw the state charts of the documentation: `python docs/tools/states.py`.

A test fails if the files are not what this script writes, or if a transition is missing.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "explanation"
WIDTH, HEIGHT = 112, 44  # of a state
STYLE = """\
  <style>
    .paper {fill: #fff; stroke: #d0d4e4}
    .state {fill: #eef1fb; stroke: #3f51b5; stroke-width: 1.5}
    .end {fill: #f4f4f4; stroke: #888; stroke-width: 1.5}
    .edge {fill: none; stroke: #555; stroke-width: 1.4}
    text {font-family: sans-serif; font-size: 13px; fill: #222; text-anchor: middle}
    .name {font-weight: bold; font-size: 14px}
  </style>
  <defs>
    <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
            orient="auto-start-reverse">
      <path d="M0 0 L8 4 L0 8 z" fill="#555"/>
    </marker>
  </defs>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A transition. `path` is SVG's; each line of `label` is written below the one before."""

    source: str
    target: str
    path: str
    label: str
    at: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """States by the middle of their boxes, and what leads from one to another."""

    title: str
    size: tuple[int, int]
    states: dict[str, tuple[int, int]]
    edges: list[Edge]
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)

    def svg(self) -> str:
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
            f"  <title>{escape(self.title)}</title>\n{STYLE}"
            f'  <rect class="paper" x="1" y="1" width="{width - 2}" height="{height - 2}"'
            ' rx="8"/>\n'
        )
        boxes = [box(name, at, "state") for name, at in self.states.items()]
        boxes += [box(name, at, "end") for name, at in self.ends.items()]
        return head + "".join(map(arrow, self.edges)) + "".join(boxes) + "</svg>\n"


def box(name: str, at: tuple[int, int], kind: str) -> str:
    x, y = at
    return (
        f'  <rect class="{kind}" x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}"'
        f' width="{WIDTH}" height="{HEIGHT}" rx="8"/>\n'
        f'  <text class="name" x="{x}" y="{y + 5}">{escape(name)}</text>\n'
    )


def arrow(edge: Edge) -> str:
    x, y = edge.at
    lines = edge.label.splitlines()
    texts = [
        f'  <text x="{x}" y="{y + 16 * number}">{escape(line)}</text>\n'
        for number, line in enumerate(lines)
    ]
    return f'  <path class="edge" marker-end="url(#head)" d="{edge.path}"/>\n' + "".join(texts)


JOB = Chart(
    title="The states of a job",
    size=(980, 370),
    states={
        "ready": (250, 110),
        "running": (600, 110),
        "scheduled": (250, 320),
        "rejected": (600, 320),
    },
    ends={"acked": (890, 110), "deleted": (890, 320)},
    edges=[
        Edge(source="", target="ready", path="M40 110 L190 110", label="put", at=(112, 100)),
        Edge(
            source="",
            target="scheduled",
            path="M40 320 L190 320",
            label="put with\na delay",
            at=(112, 294),
        ),
        Edge(
            source="scheduled",
            target="ready",
            path="M230 298 L230 136",
            label="promoted\nwhen due",
            at=(188, 214),
        ),
        Edge(
            source="ready",
            target="running",
            path="M306 110 L540 110",
            label="claimed",
            at=(425, 100),
        ),
        Edge(
            source="running",
            target="ready",
            path="M580 88 C540 22 310 22 270 84",
            label="released, rescued, interrupted, first crash",
            at=(425, 30),
        ),
        Edge(
            source="running",
            target="scheduled",
            path="M562 132 L300 294",
            label="exception, Retry,\nSnooze, crash",
            at=(506, 216),
        ),
        Edge(
            source="running",
            target="rejected",
            path="M600 132 L600 294",
            label="Reject, max_runs,\nmax_crashes",
            at=(668, 214),
        ),
        Edge(
            source="rejected",
            target="ready",
            path="M544 306 C420 290 290 240 262 138",
            label="requeued",
            at=(372, 302),
        ),
        Edge(
            source="running",
            target="acked",
            path="M656 110 L830 110",
            label="Ack",
            at=(742, 100),
        ),
        Edge(
            source="rejected",
            target="deleted",
            path="M656 320 L830 320",
            label="delete, also from\nready, scheduled",
            at=(742, 292),
        ),
    ],
)

WORKER = Chart(
    title="The states of a worker slot",
    size=(980, 410),
    states={
        "vacant": (110, 210),
        "starting": (300, 210),
        "booting": (490, 210),
        "parked": (490, 90),
        "busy": (690, 210),
        "idle": (880, 210),
        "condemned": (490, 340),
        "exiting": (690, 340),
    },
    edges=[
        Edge(
            source="vacant",
            target="starting",
            path="M166 210 L240 210",
            label="ordered",
            at=(204, 200),
        ),
        Edge(
            source="starting",
            target="booting",
            path="M356 210 L430 210",
            label="forked",
            at=(394, 200),
        ),
        Edge(
            source="booting",
            target="busy",
            path="M546 210 L630 210",
            label="component\nentered",
            at=(588, 184),
        ),
        Edge(
            source="booting",
            target="parked",
            path="M490 188 L490 116",
            label="canary of\na reload",
            at=(450, 146),
        ),
        Edge(
            source="parked",
            target="busy",
            path="M546 90 C620 90 680 120 690 184",
            label="reload accepted",
            at=(620, 80),
        ),
        Edge(
            source="busy",
            target="idle",
            path="M746 202 L820 202",
            label="no jobs",
            at=(784, 192),
        ),
        Edge(
            source="idle",
            target="busy",
            path="M824 220 L750 220",
            label="woken",
            at=(784, 240),
        ),
        Edge(
            source="busy",
            target="condemned",
            path="M650 232 L540 314",
            label="over a limit",
            at=(560, 266),
        ),
        Edge(
            source="condemned",
            target="busy",
            path="M548 326 L666 236",
            label="ended just\nin time",
            at=(640, 300),
        ),
        Edge(
            source="busy",
            target="exiting",
            path="M690 232 L690 314",
            label="asked to exit",
            at=(738, 286),
        ),
        Edge(
            source="idle",
            target="exiting",
            path="M870 232 L746 326",
            label="asked to exit",
            at=(860, 296),
        ),
        Edge(
            source="condemned",
            target="vacant",
            path="M434 340 C250 340 130 300 116 236",
            label="killed",
            at=(330, 326),
        ),
        Edge(
            source="exiting",
            target="vacant",
            path="M690 362 C660 404 100 430 100 236",
            label="exited",
            at=(600, 378),
        ),
    ],
)

FILES = {"job-states.svg": JOB, "worker-states.svg": WORKER}

if __name__ == "__main__":
    for name, chart in FILES.items():
        (DIRECTORY / name).write_text(chart.svg())
