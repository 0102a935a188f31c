"""Where a measurement is made: an embedded server on a real disk, as durable as it comes, and a schema for each run."""

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
    """What was measured is not what was meant to be measured."""


@dataclass(frozen=True, slots=True)
class Place:
    """One run's own tables, and a directory in which its workers leave what they have seen."""

    url: str
    schema: str
    reports: Path
    options: SupervisorOptions

    def publisher(self) -> Publisher:
        return Publisher(self.url, schema=self.schema)

    def supervisor(self, consumer: Consumer) -> Supervisor:
        return Supervisor(self.url, consumers=[consumer], schema=self.schema, options=self.options)

    def put(self, jobs: int) -> None:
        """Put so many small jobs."""
        with self.publisher() as publisher:
            publisher.put_many(QUEUE, ({"n": number} for number in range(jobs)))

    def expect_jobs(self, expected: int) -> None:
        """Raise BenchmarkFailed unless so many jobs are left, in whatever state."""
        with Admin(self.url, schema=self.schema) as admin:
            left = {f"{count.jobs} {count.state}": count.jobs for count in admin.counts()}
        if sum(left.values()) != expected:
            raise BenchmarkFailed(
                f"{expected} jobs should be left, there are: {', '.join(left) or 'none'}"
            )


@contextmanager
def database(**settings: str) -> Iterator[str]:
    """The URL of a new server of its own, with `settings` beyond what every user gets; it goes with the block."""
    directory = Path(tempfile.mkdtemp(prefix="taskmaster-bench-"))
    try:
        refuse_memory(directory)
        if settings:
            with server(directory) as url, psycopg.connect(url, autocommit=True) as conn:
                for name, value in settings.items():
                    conn.execute(
                        sql.SQL("alter system set {} = {}").format(
                            sql.Identifier(name), sql.Literal(value)
                        )
                    )
        with server(directory) as url:
            refuse_volatile(url)
            yield url
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def refuse_memory(directory: Path) -> None:
    """A file system in memory makes every commit look cheap."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True
    )
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        raise BenchmarkFailed(
            f"{directory.parent} is in memory: set TMPDIR to a directory on a disk"
        )


def refuse_volatile(url: str) -> None:
    with psycopg.connect(url) as conn:
        for name in DURABLE:
            row = conn.execute("select current_setting(%s)", [name]).fetchone()
            if row != ("on",):
                raise BenchmarkFailed(f"{name} is not on: puts would not be durable")


@contextmanager
def place(url: str, *, options: SupervisorOptions | None = None) -> Iterator[Place]:
    """Fresh tables, dropped afterwards: no run begins with the dead rows or the dirty pages of another."""
    schema = f"bench_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="taskmaster-bench-") as reports:
        yield Place(url, schema, Path(reports), options or SupervisorOptions())
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        conn.execute("checkpoint")


def postgres_version(url: str) -> str:
    with psycopg.connect(url) as conn:
        return str(conn.execute("show server_version").fetchone()[0])  # type: ignore[index]


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)
