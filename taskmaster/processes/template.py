"""The clean process from which workers are forked: the user's modules imported, no thread, no connection.

A process of our own rather than `multiprocess`'s forkserver: see docs/decisions/template-process.md. Each worker is
forked twice, so that it becomes the child of the supervisor (a subreaper), which can wait for it whatever happens to
the template.
"""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec
from setproctitle import setproctitle

from taskmaster.errors import TaskmasterError
from taskmaster.processes.shared import lifeline, messages
from taskmaster.processes.shared.log import set_up_logging
from taskmaster.processes.shared.plan import Plan
from taskmaster.processes.shared.scoreboard import Scoreboard
from taskmaster.processes.shared.spawn import take
from taskmaster.processes.worker import main as worker_main
from taskmaster.processes.worker import reporter

Wanted = messages.WorkerOrder | messages.ReporterOrder

THREADS = Path("/proc/self/task")


def main(channel_fd: int, plan_fd: int, scoreboard_fd: int, lifeline_fd: int) -> None:
    """Prepare, say so, and fork a worker for each order until the supervisor is gone."""
    held = lifeline.hold(lifeline_fd)
    setproctitle("taskmaster template")
    signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # a SIGTERM for the whole group is the supervisor's to handle
    channel = socket.socket(fileno=channel_fd)
    plan: Plan = take(plan_fd)
    try:
        prepared = prepare(plan)
    except TaskmasterError as error:
        answer(channel, messages.Failed(str(error)))
        return
    scoreboard = Scoreboard(plan.workers, scoreboard_fd)
    answer(channel, messages.Ready(reports=any(one.crash_reporters for one in prepared)))
    serve(Template(plan, prepared, scoreboard, channel, lifeline_fd, held))


class Template(NamedTuple):
    plan: Plan
    prepared: Sequence[worker_main.Prepared]
    scoreboard: Scoreboard
    channel: socket.socket
    lifeline_fd: int
    held_fd: int


def prepare(plan: Plan) -> list[worker_main.Prepared]:
    """Import all that the workers will need, and keep it out of the garbage collector's way: pages stay shared."""
    set_up_logging()
    if plan.metrics_dir is not None:
        from taskmaster.processes.shared import prometheus_files  # it costs 30 ms

        prometheus_files.prepare(plan.metrics_dir)
    prepared = []
    for consumer in plan.consumers:
        prepared.append(worker_main.prepare(consumer, source=plan.source))
        refuse_threads(
            f"{plan.source}: consumer {consumer.queue_name!r}: importing {consumer.callback}"
        )
    gc.collect()
    gc.freeze()
    return prepared


def refuse_threads(what: str) -> None:
    """A fork copies the locks of other threads, never the threads: one held at that moment is held for ever."""
    if len(list(THREADS.iterdir())) > 1:
        raise TaskmasterError(
            f"{what} starts a thread, and a process with threads cannot be forked safely: "
            "start it in the component, which is entered in each worker"
        )


def serve(template: Template) -> None:
    while (received := messages.receive(template.channel)) is not None:
        wanted, fds = received
        assert isinstance(wanted, messages.WorkerOrder | messages.ReporterOrder)
        pid = fork_for_supervisor(template, wanted, fds)
        for fd in fds:
            os.close(fd)
        answer(template.channel, messages.Forked(wanted.serial, pid))


def answer(channel: socket.socket, message: messages.Message) -> None:
    """Tell the supervisor; when it is gone, nobody wants to know."""
    with suppress(ConnectionError):
        messages.send(channel, message)


def fork_for_supervisor(template: Template, wanted: Wanted, fds: Sequence[int]) -> int:
    """Fork twice and let the one between leave: the pid of the other, then the supervisor's child. 0: no fork."""
    report_read, report_write = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            worker = os.fork()
            if worker == 0:
                os.close(report_read)
                os.close(report_write)
                live(template, wanted, fds)
            os.write(report_write, str(worker).encode())
        finally:
            os._exit(0)
    os.close(report_write)
    os.waitpid(between, 0)
    pid = int(os.read(report_read, 32) or b"0")
    os.close(report_read)
    return pid


def live(template: Template, wanted: Wanted, fds: Sequence[int]) -> NoReturn:
    """The whole life of a worker or a reporter. It never returns into the template's code."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.close(template.held_fd)
        held_fd = lifeline.hold(template.lifeline_fd)
        lifeline.hold_in_forks(held_fd)
        template.channel.close()
        if isinstance(wanted, messages.ReporterOrder):
            status = reporter.main(template.prepared, *fds)
        else:
            prepared = template.prepared[wanted.consumer]
            order = msgspec.structs.replace(wanted, held_fd=held_fd)
            status = worker_main.main(template.plan, prepared, template.scoreboard, order, fds)
    except SystemExit as leaving:
        logging.getLogger("taskmaster.worker").warning("%s", leaving)
    except BaseException:
        logging.getLogger("taskmaster.worker").exception("%s failed", wanted)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
