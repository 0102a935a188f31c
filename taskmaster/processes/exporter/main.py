"""The exporter's life: it serves until the supervisor lets go of it. Threads are allowed here: nothing is forked."""

import select
import shutil
import signal
import socket
import threading

from setproctitle import setproctitle

from taskmaster.processes.exporter.channel import Channel
from taskmaster.processes.exporter.counted import Counted
from taskmaster.processes.exporter.pages import Pages
from taskmaster.processes.exporter.queues import Queues
from taskmaster.processes.exporter.web import serve
from taskmaster.processes.shared.log import set_up_logging
from taskmaster.processes.shared.plan import ExporterPlan
from taskmaster.processes.shared.spawn import take

LOOK_MS = 1_000


def main(channel_fd: int, listening_fd: int, plan_fd: int) -> None:
    """Answer on the socket that the supervisor listens on."""
    setproctitle("taskmaster exporter")
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
    ):  # to the whole service: the supervisor ends us
        signal.signal(number, signal.SIG_IGN)
    set_up_logging()
    plan: ExporterPlan = take(plan_fd)
    channel = Channel(socket.socket(fileno=channel_fd))
    queues = Queues(plan.database)
    pages = Pages(channel, Counted(plan.metrics_dir), queues)
    for work in (
        channel.keep_asking,
        queues.keep_counting,
        lambda: serve(socket.socket(fileno=listening_fd), pages),
    ):
        threading.Thread(target=work, daemon=True).start()
    wait_for_the_end(channel)
    shutil.rmtree(plan.metrics_dir, ignore_errors=True)  # a supervisor that was killed has not


def wait_for_the_end(channel: Channel) -> None:
    """The supervisor's end of the channel closes with it."""
    poll = select.poll()
    poll.register(channel.fileno(), 0)  # only POLLHUP, which needs no asking for
    while not poll.poll(LOOK_MS):
        pass
