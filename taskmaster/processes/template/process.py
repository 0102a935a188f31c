"""The template process: it imports the user's modules and forks the workers.

It starts no thread and keeps no connection, so no fork copies a lock or a session. Imports are
watched for both, see import_watch.py. The decision against the forkserver of `multiprocess` is in
docs/decisions/template-process.md. Each worker is forked twice, so that it becomes a child of the
supervisor, which is a subreaper and can reap it whatever happens to the template.
"""

import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import NamedTuple, NoReturn

import msgspec
from setproctitle import setproctitle

from taskmaster.errors import TaskmasterError
from taskmaster.import_path import hidden_note, own_modules_first, use_directory
from taskmaster.processes.ipc import lifeline, messages
from taskmaster.processes.ipc.messages import WorkerFds
from taskmaster.processes.ipc.plan import Plan
from taskmaster.processes.ipc.scoreboard import Scoreboard
from taskmaster.processes.ipc.spawn import take
from taskmaster.processes.system.log import enable_loggers, set_up_logging
from taskmaster.processes.system.open_files import flush_before_forks
from taskmaster.processes.system.rlimits import restore_open_files
from taskmaster.processes.template.import_watch import ImportWatch
from taskmaster.processes.template.threading_variables import one_thread_each
from taskmaster.processes.worker import main as worker_main
from taskmaster.processes.worker import reporter
from taskmaster.processes.worker.ending import end_as_python_does
from taskmaster.processes.worker.prepared import Prepared, prepare

AnyOrder = messages.WorkerOrder | messages.ReporterOrder

# Callbacks are free to use these: a worker has their default action again.
NOT_FOR_WORKERS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Template(NamedTuple):
    """The state of the template. `held_fd` is its own end of the lifeline."""

    plan: Plan
    prepared: Sequence[Prepared]
    scoreboard: Scoreboard
    channel: socket.socket
    lifeline_fd: int
    held_fd: int


def main(channel_fd: int, plan_fd: int, scoreboard_fd: int, lifeline_fd: int) -> None:
    """Prepare, report readiness, and fork a process for each order until the supervisor is gone."""
    held_fd = lifeline.hold(lifeline_fd)
    setproctitle("taskmaster template")
    for number in (signal.SIGTERM, *NOT_FOR_WORKERS):
        signal.signal(number, _leave_to_the_supervisor)
    channel = socket.socket(fileno=channel_fd)
    watch = ImportWatch()
    try:
        with one_thread_each():
            with watch.importing("consumers: importing the modules of their functions"):
                plan: Plan = take(plan_fd)
            restore_open_files(plan.open_files)
            prepared = prepare_all(plan, watch)
    except TaskmasterError as error:
        _send(channel, messages.failed(error))
        return
    for note in watch.notes:
        _send(channel, messages.Noted(messages.shorten(note)))
    scoreboard = Scoreboard(plan.workers, scoreboard_fd)
    _send(channel, messages.Ready(reports=any(one.crash_reporters for one in prepared)))
    _serve(Template(plan, prepared, scoreboard, channel, lifeline_fd=lifeline_fd, held_fd=held_fd))


def _leave_to_the_supervisor(number: int, frame: FrameType | None) -> None:
    """Do nothing on a signal that was sent to the whole service."""


def _restore_signals() -> None:
    """Give a worker the default actions, except where a module of the user has set a handler."""
    for number in NOT_FOR_WORKERS:
        if signal.getsignal(number) is _leave_to_the_supervisor:
            signal.signal(number, signal.SIG_DFL)


def prepare_all(plan: Plan, watch: ImportWatch) -> list[Prepared]:
    """Import what the workers need, and keep the garbage collector off it, so pages stay shared.

    Raises InvalidConfig, also if an import makes what forks cannot share.
    """
    set_up_logging(plan.log_format)
    if plan.metrics_dir is not None:
        with own_modules_first():
            from taskmaster.processes.ipc import prometheus_files  # the import costs 30 ms

        prometheus_files.prepare(plan.metrics_dir)
    if plan.directory is not None:
        use_directory(plan.directory)
    _warn_of_hidden_files()
    prepared = []
    for consumer in plan.consumers:
        prepared.append(prepare(consumer, source=plan.source, importing=watch.importing))
        enable_loggers()
    gc.collect()
    flush_before_forks()
    gc.freeze()
    return prepared


def _warn_of_hidden_files() -> None:
    """Log which files of the project callbacks cannot import. They get another module instead."""
    if note := hidden_note():
        logging.getLogger("taskmaster.template").warning("files hidden: %s", note)


def _serve(template: Template) -> None:
    while (received := messages.receive(template.channel)) is not None:
        order, fds, is_whole = received
        assert isinstance(order, messages.WorkerOrder | messages.ReporterOrder)
        forked = _try_fork(template, order, fds) if is_whole else _not_forked(order, errno.EMFILE)
        for fd in fds:
            os.close(fd)
        _send(template.channel, forked)


def _try_fork(template: Template, order: AnyOrder, fds: Sequence[int]) -> messages.Forked:
    """Fork the ordered process. If the system has no room for it, return the reason."""
    try:
        result = _fork_twice(template, order, fds)
    except OSError as error:
        return _not_forked(order, error.errno or errno.EAGAIN)
    return messages.Forked(order.serial, result) if result > 0 else _not_forked(order, -result)


def _not_forked(order: AnyOrder, number: int) -> messages.Forked:
    return messages.Forked(order.serial, 0, os.strerror(number).lower())


def _send(channel: socket.socket, message: messages.Message) -> None:
    """Send a message to the supervisor, unless the supervisor is gone."""
    with suppress(ConnectionError):
        messages.send(channel, message)


def _fork_twice(template: Template, order: AnyOrder, fds: Sequence[int]) -> int:
    """Fork a process that becomes the supervisor's child.

    Return its pid, or the negative number of the error of the second fork. Raises OSError if there
    is no room for the first.
    """
    with ExitStack() as pipe:
        report_read, report_write = os.pipe()
        pipe.callback(os.close, report_read)
        with ExitStack() as writing:
            writing.callback(os.close, report_write)
            between = os.fork()
            if between == 0:
                _fork_again(template, order, fds, (report_read, report_write))
        os.waitpid(between, 0)
        return int(os.read(report_read, 32) or -errno.EAGAIN)


def _fork_again(
    template: Template, order: AnyOrder, fds: Sequence[int], pipe: tuple[int, int]
) -> NoReturn:
    """Fork the ordered process, report its pid to the template, and exit."""
    try:
        pid = os.fork()
        if pid == 0:
            for fd in pipe:
                os.close(fd)
            _run_child(template, order, fds)
        os.write(pipe[1], str(pid).encode())
    except OSError as error:
        os.write(pipe[1], str(-(error.errno or errno.EAGAIN)).encode())
    finally:
        os._exit(0)


def _run_child(template: Template, order: AnyOrder, fds: Sequence[int]) -> NoReturn:
    """Run a worker or a reporter, then exit. This never returns into the template's code."""
    status = 1
    try:
        os.setpgid(0, 0)
        _restore_signals()
        os.close(template.held_fd)
        held_fd = lifeline.hold(template.lifeline_fd)
        lifeline.hold_in_forks(held_fd)
        template.channel.close()
        if isinstance(order, messages.ReporterOrder):
            status = reporter.main(template.prepared, *fds)
        else:
            prepared = template.prepared[order.consumer]
            order = msgspec.structs.replace(order, held_fd=held_fd)
            named_fds = WorkerFds(**dict(zip(WorkerFds._fields, fds, strict=True)))
            status = worker_main.main(
                template.plan, prepared, template.scoreboard, order, named_fds
            )
        if status == 0:
            end_as_python_does()
    except SystemExit as leaving:
        logging.getLogger("taskmaster.worker").warning("%s", leaving)
    except BaseException:
        logging.getLogger("taskmaster.worker").exception("process failed: %s", order)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
