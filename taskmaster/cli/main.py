"""The command itself: its subcommands, and how a failure becomes one sentence and an exit code."""

import gc
import io
import os
import signal
import sys
from typing import NoReturn

import click
import psycopg

from taskmaster.cli import inspect, jobs, put, run, setup
from taskmaster.cli.demo import demo
from taskmaster.cli.output import printable
from taskmaster.errors import InvalidJob, TaskmasterError
from taskmaster.processes.system.stdio import keep_for_stdio
from taskmaster.store.faults import one_line

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskmaster-pg", prog_name="taskmaster")
def cli() -> None:
    """Background jobs on Postgres, run in processes."""


for command in (
    *(setup.init, setup.migrate, setup.check, run.run, demo),
    *(put.put, inspect.status, inspect.jobs, inspect.show, jobs.requeue, jobs.delete),
):
    cli.add_command(command)


def main() -> None:
    """Run the command and exit.

    The exit code is 0 if it is done, 1 if it failed, 2 for wrong usage, 130 if it was interrupted,
    and 128 + N after signal N.
    """
    gc.freeze()  # modules stay: to collect them at the end would take 50 ms
    keep_for_stdio()
    handle_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A payload may hold characters that the terminal's encoding does not have.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(exit_code())


def handle_signals() -> None:
    """End as Ctrl-C does, so that `with` blocks are left. A signal that nohup ignores stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, exit_by_signal)


def exit_by_signal(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def exit_code() -> int:
    """Run the command and return its exit code."""
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except click.UsageError as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # the reader, perhaps a `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except InvalidJob as error:
        print_failure(error)
        return USAGE
    except (TaskmasterError, click.ClickException, psycopg.Error, OSError) as error:
        print_failure(error)
        return FAILED


def print_failure(error: Exception) -> None:
    """Print one sentence on stderr."""
    message = error.format_message() if isinstance(error, click.ClickException) else one_line(error)
    if isinstance(error, FileNotFoundError) and error.filename is None:  # from os.getcwd()
        message = "the current directory is gone: change to another"
    print(f"taskmaster: {printable(' '.join(message.split()))}", file=sys.stderr)
