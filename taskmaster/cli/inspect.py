"""Commands that only look: `status`, `jobs` and `show`."""

import sys
from collections.abc import Container, Sequence
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
    single_line,
)
from taskmaster.failure import Failure
from taskmaster.job import JobRecord, State
from taskmaster.store.jobs import QueueCount
from taskmaster.store.supervisors import RunningJob, SupervisorStatus

SILENT_SECONDS = 10.0  # without a heartbeat, before a supervisor is marked
SHOWN = (State.READY, State.SCHEDULED, State.RUNNING, State.REJECTED)
WAITING = (State.READY, State.SCHEDULED)
SHOWN_COLUMNS = (
    *("id", "queue_name", "state", "priority", "run_count"),
    *("created_at", "run_at", "worker"),
)


# -- status


@click.command()
@json_option
@config_option
def status(*, as_json: bool, config: Path | None) -> None:
    """Show jobs by queue and state, and the supervisors."""
    with admin(config) as opened:
        counts, supervisors, running = opened.counts(), opened.supervisors(), opened.running()
    if as_json:
        print_json(
            {
                "queues": [count._asdict() for count in counts],
                "running": [run._asdict() for run in running],
                "supervisors": [supervisor._asdict() for supervisor in supervisors],
            }
        )
        return
    print_queues(counts, queues_without_supervisor(counts, supervisors))
    print()
    if running:
        print_running(running)
        print()
    print_supervisors(supervisors)


def queues_without_supervisor(
    counts: Sequence[QueueCount], supervisors: Sequence[SupervisorStatus]
) -> set[str]:
    """Return the queues with waiting jobs that no live supervisor serves, as far as all say it."""
    live = [one for one in supervisors if one.silent_seconds <= SILENT_SECONDS]
    if any(one.queue_names is None for one in live):
        return set()
    served = {name for one in live for name in one.queue_names or ()}
    return {count.queue_name for count in counts if count.state in WAITING} - served


def print_queues(counts: Sequence[QueueCount], unserved: Container[str]) -> None:
    """Print one line per queue, with a mark if no supervisor serves it."""
    by_queue: dict[str, dict[State, int]] = {}
    oldest: dict[str, float] = {}
    for count in counts:
        by_queue.setdefault(count.queue_name, {})[count.state] = count.jobs
        oldest[count.queue_name] = max(oldest.get(count.queue_name, 0.0), count.oldest_seconds)
    rows = [
        [
            f"{name} (no supervisor)" if name in unserved else name,
            *(states.get(state, 0) for state in SHOWN),
            duration(oldest[name]),
        ]
        for name, states in by_queue.items()
    ]
    print_table(["queue", *SHOWN, "oldest"], rows, empty="no jobs")


def print_running(running: Sequence[RunningJob]) -> None:
    """Print one line per run."""
    headers = ["job", "queue", "worker", "for", "progress", "note"]
    rows = [
        [
            *(run.job_id, run.queue_name, run.worker, duration(run.seconds)),
            *(progress(run), run.note or ""),
        ]
        for run in running
    ]
    print_table(headers, rows, empty="")


def progress(run: RunningJob) -> str:
    """Return the progress of a run like `25%`, or an empty string if it has reported none."""
    return "" if run.progress is None else f"{run.progress:.0%}"


def print_supervisors(supervisors: Sequence[SupervisorStatus]) -> None:
    """Print one line per supervisor."""
    headers = ["supervisor", "up", "last heartbeat", "lost leases"]
    rows = [
        [one.name, duration(one.up_seconds), last_heartbeat(one), one.lost_leases]
        for one in supervisors
    ]
    print_table(headers, rows, empty="no supervisor runs")


def last_heartbeat(supervisor: SupervisorStatus) -> str:
    """Return the age of the last heartbeat, and a mark if it is old."""
    mark = " (gone?)" if supervisor.silent_seconds > SILENT_SECONDS else ""
    return f"{duration(supervisor.silent_seconds)} ago{mark}"


# -- jobs


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
    headers = ["id", "queue", "state", "priority", "runs", "payload", "last failure"]
    print_table(headers, map(job_row, found), empty="no jobs")
    if len(found) == limit:
        print(f"these are the first {limit}; --limit shows more", file=sys.stderr)


def job_row(record: JobRecord) -> list[object]:
    """Return the cells of one job."""
    return [
        *(record.id, record.queue_name, record.state, record.priority, record.run_count),
        *(short_json(record.payload), last_message(record)),
    ]


def last_message(record: JobRecord) -> str:
    """Return the message of the last failure, cut to a few words."""
    message = record.failures[-1].message if record.failures else ""
    return " ".join(message.split())[:80]


# -- show


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
    for text in job_texts(record, running):
        console.print(Text(printable(text)))


def job_texts(record: JobRecord, running: Sequence[RunningJob]) -> list[str]:
    """Return a job as a person reads it, one text per fact."""
    texts = [
        f"{name:<12} {single_line(value)}"
        for name in SHOWN_COLUMNS
        if (value := getattr(record, name)) is not None
    ]
    texts += map(running_text, running)
    texts += [f"{name:<12} {pretty(getattr(record, name))}" for name in ("headers", "payload")]
    return texts + [failure_text(failure) for failure in record.failures]


def running_text(run: RunningJob) -> str:
    """Return how long a run has lasted and how far it is."""
    how_far = f", {progress(run)} {single_line(run.note or '')}" if run.progress is not None else ""
    return f"{'running':<12} for {duration(run.seconds)} in process {run.pid}{how_far}"


def failure_text(failure: Failure) -> str:
    """Return one entry of the history as a person reads it."""
    run, worker, at = failure.run or "?", failure.worker or "?", failure.at or "?"
    head = single_line(f"run {run} on {worker} at {at}: {failure.cause}{usage(failure)}")
    texts = [failure.traceback] if failure.traceback else []
    if failure.stdout:
        texts.append(f"stdout:\n{failure.stdout}")
    if failure.stderr:
        texts.append(f"stderr:\n{failure.stderr}")
    return "\n".join(["", head, failure.message, *texts])


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
