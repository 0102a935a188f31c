"""What it costs to wait: CPU seconds of all processes, and SQL statements, while nothing is there to do."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks import notes
from benchmarks.place import QUEUE, BenchmarkFailed, Place, database, place
from benchmarks.report import Figures
from taskmaster import Job

SECONDS = 20.0
SETTLING_SECONDS = 3.0
WORKERS = 2
PROCESSES = 2 + WORKERS  # supervisor and template


def measure(_url: str) -> Figures:
    """On a server of its own, which counts statements: that would cost the other measurements something."""
    with (
        database(shared_preload_libraries="pg_stat_statements") as url,
        place(url) as here,
        here.supervisor(notes.consumer(here, ran, workers=WORKERS)).start() as running,
    ):
        warm_up(here)
        pids = list(family(running.pid))
        if len(pids) != PROCESSES:
            raise BenchmarkFailed(f"there should be {PROCESSES} processes, there are {len(pids)}")
        return watched(url, pids)


def ran(job: Job) -> None:
    notes.note(job.component, job.id)


def warm_up(here: Place) -> None:
    with here.publisher() as publisher:
        publisher.put(QUEUE)
    notes.wait_for(here, 1, within_seconds=10.0)
    time.sleep(SETTLING_SECONDS)  # a worker that has just gone idle looks several times


def watched(url: str, pids: list[int]) -> Figures:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create extension pg_stat_statements")
        conn.execute("select pg_stat_statements_reset()")
        cpu = sum(map(cpu_seconds, pids))
        time.sleep(SECONDS)
        cpu = sum(map(cpu_seconds, pids)) - cpu
        statements = count_statements(conn)
    return {
        "idle_cpu_s": cpu,
        "idle_cpu_percent": 100 * cpu / SECONDS,
        "idle_statements": statements,
        "idle_statements_per_s": statements / SECONDS,
    }


def count_statements(conn: psycopg.Connection) -> float:
    """All statements since the reset, but for our own."""
    row = conn.execute(
        "select sum(calls) from pg_stat_statements where query not like '%pg_stat_statements%'"
    ).fetchone()
    return float(row[0]) if row and row[0] else 0.0


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """CPU time of another process, in nanosecond steps where /proc/PID/stat has 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) answers on Linux
