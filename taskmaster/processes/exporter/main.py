"""The exporter process from start to exit: it serves until the supervisor closes the channel."""

import select
import shutil
import signal
import socket
import threading

from setproctitle import setproctitle

from taskmaster.processes.exporter.channel import Channel
from taskmaster.processes.exporter.pages import Pages
from taskmaster.processes.exporter.queues import Queues
from taskmaster.processes.exporter.web import serve
from taskmaster.processes.exporter.worker_metrics import WorkerMetrics
from taskmaster.processes.ipc.plan import ExporterPlan
from taskmaster.processes.ipc.spawn import take
from taskmaster.processes.system.log import set_up_logging

LOOK_MS = 1_000
FOR_THE_SUPERVISOR = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(channel_fd: int, plan_fd: int, listening_fd: int) -> None:
    """Serve on the listening socket that the supervisor has opened."""
    setproctitle("taskmaster exporter")
    # A signal to the whole service is for the supervisor to handle: it ends the exporter.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *FOR_THE_SUPERVISOR):
        signal.signal(number, signal.SIG_IGN)
    plan: ExporterPlan = take(plan_fd)
    set_up_logging(plan.log_format)
    channel = Channel(socket.socket(fileno=channel_fd))
    queues = Queues(plan.database)
    pages = Pages(channel, WorkerMetrics(plan.metrics_dir), queues)
    listening = socket.socket(fileno=listening_fd)
    for work in (channel.keep_asking, queues.keep_counting, lambda: serve(listening, pages)):
        threading.Thread(target=work, daemon=True).start()
    _wait_for_end(channel)
    if plan.metrics_dir is not None:  # a killed supervisor has not removed it
        shutil.rmtree(plan.metrics_dir, ignore_errors=True)


def _wait_for_end(channel: Channel) -> None:
    """Wait until the supervisor's end of the channel is closed.

    The kernel closes it even if the supervisor is killed.
    """
    poll = select.poll()
    poll.register(channel.fileno(), 0)  # POLLHUP is reported without being asked for
    while not poll.poll(LOOK_MS):
        pass
