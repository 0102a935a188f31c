"""The demo's environment, of which nothing is left: a schema, a directory and a supervisor."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex

from psycopg import sql

from taskmaster.consumer import Consumer
from taskmaster.demo.callbacks import note_pickup, open_renderer, render
from taskmaster.demo.mandelbrot import Poster
from taskmaster.embedded import resolve_url
from taskmaster.options import SupervisorOptions
from taskmaster.processes.supervisor.supervisor import Supervisor
from taskmaster.store.connection import connect

TILES = "tiles"
# A separate queue: probes take no time, so a worker would expect the same of tiles and claim many.
PROBES = "probes"
OPTIONS = SupervisorOptions(grace_seconds=0.5)  # a tile that Ctrl-C cuts off is no loss
RETRY_SECONDS = 0.05
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the demo, and ignore the others while it cleans up."""
    old = {number: signal.signal(number, _interrupt) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def throwaway_schema(*, keep: bool) -> Iterator[tuple[str, str]]:
    """Yield the database's URL and the name of a new schema, which is dropped at the end.

    The user's own jobs are never touched.
    """
    schema = f"taskmaster_demo_{token_hex(4)}"
    with resolve_url(None) as url:
        # Connect once, so that an unreachable database is reported at once. A supervisor waits.
        connect(url, schema).close()
        try:
            yield url, schema
        finally:
            if not keep:
                _drop(url, schema)


@contextmanager
def scratch(*, keep: bool) -> Iterator[Path]:
    """Yield a directory for the tiles, which is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="taskmaster-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory)


@contextmanager
def run_workers(
    url: str, schema: str, directory: Path, poster: Poster, count: int
) -> Iterator[None]:
    """Run a supervisor process with `count` workers for tiles and one for probes."""
    component = partial(open_renderer, directory, poster)
    tiles = Consumer(
        TILES,
        callback=render,
        component=component,
        concurrency=count,
        retry_base_seconds=RETRY_SECONDS,
    )
    probes = Consumer(PROBES, callback=note_pickup, component=component)
    consumers = [tiles, probes]
    supervisor = Supervisor(url, consumers=consumers, options=OPTIONS, schema=schema, source="demo")
    with supervisor.start():
        try:
            yield
        finally:
            _ignore_interrupts()


def _drop(url: str, schema: str) -> None:
    with connect(url, schema) as conn:
        conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def _interrupt(number: int, _: object) -> None:
    _ignore_interrupts()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _ignore_interrupts() -> None:
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
