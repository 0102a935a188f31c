"""Commands that change jobs: `requeue` and `delete`."""

import sys
from pathlib import Path

import click

from taskmaster.cli.common import admin, config_option, json_option
from taskmaster.cli.output import print_json
from taskmaster.job import State

DELETABLE = (State.READY, State.SCHEDULED, State.REJECTED)


@click.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--queue", help="All rejected jobs of this queue.")
@json_option
@config_option
def requeue(ids: tuple[int, ...], *, queue: str | None, as_json: bool, config: Path | None) -> None:
    """Put rejected jobs back, their runs counted from 0 again."""
    check_selection(ids, queue)
    with admin(config) as opened:
        count = len(opened.requeue(*ids)) if queue is None else opened.requeue_queue(queue)
    print_count("requeued", count, as_json=as_json)


@click.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--queue", help="All jobs of this queue that are not running.")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in DELETABLE]),
    help="With --queue: only this state.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
def delete(
    ids: tuple[int, ...],
    *,
    queue: str | None,
    state: str | None,
    yes: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    """Delete jobs that are not running."""
    check_selection(ids, queue)
    if state and queue is None:
        raise click.UsageError("--state goes with --queue")
    if queue is not None and not yes:
        confirm(queue, state)
    with admin(config) as opened:
        if queue is None:
            count = len(opened.delete(*ids))
        else:
            count = opened.delete_queue(queue, state=State(state) if state else None)
    print_count("deleted", count, as_json=as_json)


def check_selection(ids: tuple[int, ...], queue: str | None) -> None:
    """Refuse a command that names both jobs and a queue, or neither."""
    if bool(ids) == (queue is not None):
        raise click.UsageError(
            f"name the jobs by their ids, or a queue with --queue{', not both' if ids else ''}"
        )


def confirm(queue: str, state: str | None) -> None:
    """Ask a person. A program has to pass --yes."""
    which = f"{state} jobs" if state else "jobs"
    if not sys.stdin.isatty():
        raise click.UsageError(f"this deletes all {which} of queue {queue!r}: pass --yes")
    click.confirm(f"Delete all {which} of queue {queue!r}?", abort=True)


def print_count(verb: str, count: int, *, as_json: bool) -> None:
    """Print how many jobs were requeued or deleted."""
    if as_json:
        print_json({verb: count})
    else:
        print(f"{verb} {count} job{'' if count == 1 else 's'}")
