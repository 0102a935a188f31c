"""Looking: `status`, `jobs` and `show`."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from taskmaster.cli.common import admin, config_option, json_option
from taskmaster.cli.output import (
    duration,
    pretty,
    print_json,
    print_table,
    printable,
    record_json,
    short_json,
)
from taskmaster.job import Failure, JobRecord, State
from taskmaster.store.supervisors import RunningJob, SupervisorStatus

SILENT_SECONDS = 10.0  # a supervisor that says nothing for so long is not well
SHOWN = (State.READY, State.SCHEDULED, State.RUNNING, State.REJECTED)


@click.command()
@json_option
@config_option
def status(*, as_json: bool, config: Path | None) -> None:
    """Show jobs by queue and state, and the supervisors."""
    with admin(config) as opened:
        counts, supervisors, running = opened.counts(), opened.supervisors(), opened.running()
    if as_json:
        queues, runs = [count._asdict() for count in counts], [run._asdict() for run in running]
        print_json(
            {
                "queues": queues,
                "running": runs,
                "supervisors": [one._asdict() for one in supervisors],
            }
        )
        return
    by_queue: dict[str, dict[State, int]] = {}
    oldest: dict[str, float] = {}
    for count in counts:
        by_queue.setdefault(count.queue_name, {})[count.state] = count.jobs
        oldest[count.queue_name] = max(oldest.get(count.queue_name, 0.0), count.oldest_seconds)
    rows = [
        [name, *(states.get(state, 0) for state in SHOWN), duration(oldest[name])]
        for name, states in by_queue.items()
    ]
    print_table(["queue", *SHOWN, "oldest"], rows, empty="no jobs")
    print()
    if running:
        print_table(
            ["job", "queue", "worker", "for", "progress", "note"],
            map(running_row, running),
            empty="",
        )
        print()
    print_table(
        ["supervisor", "up", "last heartbeat", "lost leases"],
        [
            [
                s.name,
                duration(s.up_seconds),
                f"{duration(s.silent_seconds)} ago{gone(s)}",
                s.lost_leases,
            ]
            for s in supervisors
        ],
        empty="no supervisor runs",
    )


def running_row(run: RunningJob) -> list[object]:
    return [
        run.job_id,
        run.queue_name,
        run.worker,
        duration(run.seconds),
        progress(run),
        run.note or "",
    ]


def progress(run: RunningJob) -> str:
    return "" if run.progress is None else f"{run.progress:.0%}"


def gone(supervisor: SupervisorStatus) -> str:
    return " (gone?)" if supervisor.silent_seconds > SILENT_SECONDS else ""


@click.command()
@click.option("--queue", help="Only this queue.")
@click.option(
    "--state", type=click.Choice([str(state) for state in SHOWN]), help="Only this state."
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@json_option
@config_option
def jobs(
    *, queue: str | None, state: str | None, limit: int, as_json: bool, config: Path | None
) -> None:
    """List jobs, lowest id first. Pending ones: --state ready."""
    with admin(config) as opened:
        found = opened.find(queue_name=queue, state=State(state) if state else None, most=limit)
    if as_json:
        print_json([record_json(record) for record in found])
        return
    rows = [
        [r.id, r.queue_name, r.state, r.priority, r.run_count, short_json(r.payload), last(r)]
        for r in found
    ]
    print_table(
        ["id", "queue", "state", "priority", "runs", "payload", "last failure"],
        rows,
        empty="no jobs",
    )
    if len(found) == limit:
        print(f"these are the first {limit}; --limit shows more", file=sys.stderr)


def last(record: JobRecord) -> str:
    """The last failure in a few words."""
    message = record.failures[-1].message if record.failures else ""
    return " ".join(message.split())[:80]


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@json_option
@config_option
def show(job_id: int, *, as_json: bool, config: Path | None) -> None:
    """Show one job: its payload and the history of its failures."""
    with admin(config) as opened:
        record = opened.get(job_id)
        running = opened.running(job_id)
    if as_json:
        print_json({**record_json(record), "running": [run._asdict() for run in running]})
        return
    console = Console(highlight=False, soft_wrap=True)
    for name in (
        "id",
        "queue_name",
        "state",
        "priority",
        "run_count",
        "created_at",
        "run_at",
        "worker",
    ):
        value = getattr(record, name)
        if value is not None:
            console.print(Text(f"{name:<12} {printable(str(value))}"))
    for run in running:
        said = f", {progress(run)} {run.note or ''}" if run.progress is not None else ""
        console.print(
            Text(
                printable(f"{'running':<12} for {duration(run.seconds)} in process {run.pid}{said}")
            )
        )
    for name in ("headers", "payload"):
        console.print(Text(f"{name:<12} {printable(pretty(getattr(record, name)))}"))
    for failure in record.failures:
        console.print(Text(printable(failure_text(failure))))


def failure_text(failure: Failure) -> str:
    """Return one entry of the history as a person reads it."""
    run, worker, at = failure.run or "?", failure.worker or "?", failure.at or "?"
    head = f"\nrun {run} on {worker} at {at}: {failure.cause}{usage(failure)}"
    texts = [failure.traceback] if failure.traceback else []
    if failure.stdout:
        texts.append(f"stdout:\n{failure.stdout}")
    if failure.stderr:
        texts.append(f"stderr:\n{failure.stderr}")
    return "\n".join([head, failure.message, *texts])


def usage(failure: Failure) -> str:
    """Return how long the run took, what it used, and how far it was."""
    text = "" if failure.duration_seconds is None else f" after {failure.duration_seconds} s"
    used = [] if failure.cpu_seconds is None else [f"{failure.cpu_seconds} s of CPU"]
    if failure.peak_memory_mb is not None:
        used.append(f"{failure.peak_memory_mb} MB at its peak")
    text += f" ({', '.join(used)})" if used else ""
    if failure.progress is not None:
        text += f", at {failure.progress:.0%} {failure.progress_note or ''}"
    return text
