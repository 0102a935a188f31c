"""The environment of a measurement: a durable embedded server on a disk, and a schema per run."""

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from taskmaster import Admin, Consumer, Publisher, Supervisor, SupervisorOptions, TaskmasterError
from taskmaster.embedded import server

QUEUE = "bench"
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


class BenchmarkFailed(TaskmasterError):
    """The run was not the one that should be measured, so its figures would be wrong."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The tables of one run, and a directory for the reports of its workers."""

    url: str
    schema: str
    reports: Path
    options: SupervisorOptions

    def publisher(self) -> Publisher:
        return Publisher(self.url, schema=self.schema)

    def supervisor(self, consumer: Consumer) -> Supervisor:
        return Supervisor(self.url, consumers=[consumer], schema=self.schema, options=self.options)

    def put(self, count: int) -> None:
        """Put `count` small jobs."""
        with self.publisher() as publisher:
            publisher.put_many(QUEUE, ({"n": number} for number in range(count)))

    def expect_jobs(self, expected: int) -> None:
        """Raise BenchmarkFailed unless `expected` jobs are left, in any state."""
        with Admin(self.url, schema=self.schema) as admin:
            left = {f"{count.jobs} {count.state}": count.jobs for count in admin.counts()}
        if sum(left.values()) != expected:
            raise BenchmarkFailed(
                f"expected {expected} jobs to be left, found {', '.join(left) or 'none'}"
            )


@contextmanager
def database(**settings: str) -> Iterator[str]:
    """Start a new server and yield its URL. Its data is deleted at the end of the block.

    `settings` come on top of those that every user of the embedded server gets.
    """
    directory = Path(tempfile.mkdtemp(prefix="taskmaster-bench-"))
    try:
        refuse_memory(directory)
        if settings:
            with server(directory) as url:
                configure(url, settings)
        with server(directory) as url:
            refuse_volatile(url)
            yield url
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def configure(url: str, settings: dict[str, str]) -> None:
    """Change settings of the server. They apply after its next start."""
    with psycopg.connect(url, autocommit=True) as conn:
        for name, value in settings.items():
            statement = sql.SQL("alter system set {} = {}")
            conn.execute(statement.format(sql.Identifier(name), sql.Literal(value)))


def refuse_memory(directory: Path) -> None:
    """Raise BenchmarkFailed if the directory is in memory, where every commit looks cheap."""
    command = ["stat", "-f", "-c", "%T", str(directory)]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        raise BenchmarkFailed(
            f"{directory.parent} is in memory: set TMPDIR to a directory on a disk"
        )


def refuse_volatile(url: str) -> None:
    """Raise BenchmarkFailed if the server does not make commits durable."""
    with psycopg.connect(url) as conn:
        for name in DURABLE:
            row = conn.execute("select current_setting(%s)", [name]).fetchone()
            if row != ("on",):
                raise BenchmarkFailed(f"{name} is not on: puts would not be durable")


@contextmanager
def open_environment(
    url: str, *, options: SupervisorOptions | None = None
) -> Iterator[Environment]:
    """Yield an environment with new tables, and drop them afterwards.

    No run begins with the dead rows or the dirty pages of another.
    """
    schema = f"bench_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="taskmaster-bench-") as reports:
        yield Environment(url, schema, Path(reports), options or SupervisorOptions())
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        conn.execute("checkpoint")


def postgres_version(url: str) -> str:
    with psycopg.connect(url) as conn:
        return str(conn.execute("show server_version").fetchone()[0])  # type: ignore[index]


def log(text: str) -> None:
    """Print what is being measured, for the person who waits."""
    print(text, file=sys.stderr, flush=True)
