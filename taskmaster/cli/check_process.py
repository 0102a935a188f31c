"""The process in which `taskmaster check` imports what the consumers name, and says how each chain is wrapped."""

import sys
from contextlib import ExitStack

from taskmaster.config import Settings
from taskmaster.errors import TaskmasterError
from taskmaster.processes.shared.spawn import take
from taskmaster.processes.worker.main import Prepared, prepare


def main(handed_fd: int) -> None:
    """Print one line per consumer, or the sentence about the first that cannot be imported."""
    settings: Settings = take(handed_fd)
    source = "consumers" if settings.source is None else settings.source.name
    try:
        for consumer in settings.consumers:
            build(prepare(consumer, source=source))
    except TaskmasterError as error:
        print(error)
        sys.exit(1)
    print(
        "; ".join(
            f"{c.queue_name!r}: {' > '.join([*map(name_of_spec, c.middleware), name_of_spec(c.callback)])}"
            for c in settings.consumers
        )
    )


def build(prepared: Prepared) -> None:
    """Build the chain once, as a worker does: what its middlewares refuse is said here, before anything runs."""
    with ExitStack() as stack:
        prepared.chain(stack, prepared.callback)


def name_of_spec(spec: object) -> str:
    """How a middleware or a callback is called in the configuration."""
    return str(spec["use"]) if isinstance(spec, dict) else str(spec)
