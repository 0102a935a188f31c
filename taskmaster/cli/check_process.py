"""The process in which `taskmaster check` imports the callbacks and builds each chain."""

import os
import signal
import sys
from contextlib import ExitStack
from typing import NoReturn

from taskmaster.config import Settings
from taskmaster.consumer import Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.import_path import hidden_note, use_directory
from taskmaster.plugins import name_of_spec
from taskmaster.processes.ipc.spawn import take
from taskmaster.processes.template.import_watch import ImportWatch
from taskmaster.processes.template.threading_variables import one_thread_each
from taskmaster.processes.worker.prepared import Prepared, prepare

EXIT_SECONDS = 2


def main(handed_fd: int) -> None:
    """Print how each chain is wrapped, or the sentence about the first that cannot be built."""
    try:
        print("; ".join(check(handed_fd)))
        leave(0)
    except TaskmasterError as error:
        print(error)
        leave(1)


def check(handed_fd: int) -> list[str]:
    """Return how each chain is wrapped, and what else there is to say. Raises TaskmasterError."""
    watch = ImportWatch()
    settings: Settings = take(handed_fd)
    use_directory(settings.home)
    source = "consumers" if settings.source is None else settings.source.name
    with one_thread_each():
        prepared = [
            prepare(consumer, source=source, importing=watch.importing)
            for consumer in settings.consumers
        ]
    for one in prepared:
        build(one)
    notes = [note] if (note := hidden_note()) else []
    return [*map(describe, settings.consumers), *notes, *watch.notes]


def leave(code: int) -> NoReturn:
    """Exit, even if a thread that an import has started never ends."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
    signal.alarm(EXIT_SECONDS)
    sys.stdout.flush()
    sys.exit(code)


def build(prepared: Prepared) -> None:
    """Build the chain once, as a worker does, so that middlewares refuse their options now."""
    with ExitStack() as stack:
        prepared.chain(stack, prepared.callback)


def describe(consumer: Consumer) -> str:
    """Return the chain from the outside in, like `'mail': logging > mails:send`."""
    layers = [*consumer.middleware, consumer.callback]
    return f"{consumer.queue_name!r}: {' > '.join(map(name_of_spec, layers))}"
