"""The command itself: what it is made of, and how every failure becomes one sentence and an exit code."""

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
from taskmaster.processes.supervisor.stdio import keep_for_stdio

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
    """Run the command; the exit code is 0 done, 1 failed, 2 wrong usage, 130 interrupted, 128 + N by signal N."""
    gc.freeze()  # what is imported stays: going through it again at the end would take 50 ms
    keep_for_stdio()
    for number in (
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # as Ctrl-C does it, so that everything is given back
        if signal.getsignal(number) == signal.SIG_DFL:  # else nohup, for one, has had it ignored
            signal.signal(number, exit_by_signal)
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a payload may hold what the terminal's encoding cannot write
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader, a `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except InvalidJob as error:
        fail(error)
        code = USAGE
    except (TaskmasterError, click.ClickException, psycopg.Error, OSError) as error:
        code = fail(error)
    sys.exit(code)


def exit_by_signal(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def fail(error: Exception) -> int:
    """One sentence on stderr."""
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, FileNotFoundError) and error.filename is None:  # what os.getcwd() raises
        message = "the current directory is gone: change to another"
    print(f"taskmaster: {printable(' '.join(message.split()))}", file=sys.stderr)
    return FAILED
