"""The process in which `taskmaster check` imports the callbacks and builds each chain."""

import sys
from contextlib import ExitStack

from taskmaster.config import Settings
from taskmaster.consumer import Consumer
from taskmaster.errors import TaskmasterError
from taskmaster.import_path import hidden_note, use_directory
from taskmaster.plugins import name_of_spec
from taskmaster.processes.ipc.spawn import take
from taskmaster.processes.template.import_watch import ImportWatch
from taskmaster.processes.worker.prepared import Prepared, prepare


def main(handed_fd: int) -> None:
    """Print how each chain is wrapped, or the sentence about the first that cannot be built."""
    watch = ImportWatch()
    settings: Settings = take(handed_fd)
    use_directory(settings.home)
    source = "consumers" if settings.source is None else settings.source.name
    try:
        prepared = [
            prepare(consumer, source=source, importing=watch.importing)
            for consumer in settings.consumers
        ]
        for one in prepared:
            build(one)
    except TaskmasterError as error:
        print(error)
        sys.exit(1)
    notes = [note] if (note := hidden_note()) else []
    print("; ".join([*map(describe, settings.consumers), *notes, *watch.notes]))


def build(prepared: Prepared) -> None:
    """Build the chain once, as a worker does, so that middlewares refuse their options now."""
    with ExitStack() as stack:
        prepared.chain(stack, prepared.callback)


def describe(consumer: Consumer) -> str:
    """Return the chain from the outside in, like `'mail': logging > mails:send`."""
    layers = [*consumer.middleware, consumer.callback]
    return f"{consumer.queue_name!r}: {' > '.join(map(name_of_spec, layers))}"
