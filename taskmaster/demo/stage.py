"""What the demo runs on, and leaves nothing of: a schema, a directory and a supervisor of its own."""

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
from taskmaster.demo.mandelbrot import Poster
from taskmaster.demo.work import answer, render, studio
from taskmaster.embedded import resolve_url
from taskmaster.options import SupervisorOptions
from taskmaster.store.connection import connect
from taskmaster.supervisor import Supervisor

TILES = "tiles"
PROBES = "probes"  # apart: jobs of no work at all would have a worker expect the same of the tiles
OPTIONS = SupervisorOptions(grace_seconds=0.5)  # Ctrl-C: a tile that is cut off is no loss
RETRY_SECONDS = 0.05
LEAVING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the demo, and none disturb the clearing up."""
    old = {number: signal.signal(number, _leave) for number in LEAVING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def throwaway_schema(*, keep: bool) -> Iterator[tuple[str, str]]:
    """The database's URL and the name of a schema, dropped at the end: a user's own jobs are never touched."""
    schema = f"taskmaster_demo_{token_hex(4)}"
    with resolve_url(None) as url:
        connect(
            url, schema
        ).close()  # a database that is not there is said at once, and not waited for
        try:
            yield url, schema
        finally:
            if not keep:
                _drop(url, schema)


@contextmanager
def scratch(*, keep: bool) -> Iterator[Path]:
    """A directory for the tiles, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="taskmaster-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory)


@contextmanager
def workers(url: str, schema: str, directory: Path, poster: Poster, count: int) -> Iterator[None]:
    """A supervisor in a process of its own with `count` workers for tiles, and one for probes."""
    component = partial(studio, directory, poster)
    tiles = Consumer(
        TILES,
        callback=render,
        component=component,
        concurrency=count,
        retry_base_seconds=RETRY_SECONDS,
    )
    probes = Consumer(PROBES, callback=answer, component=component)
    with Supervisor(
        url, consumers=[tiles, probes], options=OPTIONS, schema=schema, source="demo"
    ).start():
        try:
            yield
        finally:
            _ignore_interrupts()


def _drop(url: str, schema: str) -> None:
    with connect(url, schema) as conn:
        conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def _leave(number: int, _: object) -> None:
    _ignore_interrupts()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _ignore_interrupts() -> None:
    for number in LEAVING:
        signal.signal(number, signal.SIG_IGN)
