"""The cost of an idle supervisor: CPU seconds of all its processes, and SQL statements."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks import notes
from benchmarks.environment import QUEUE, BenchmarkFailed, Environment, database, open_environment
from benchmarks.report import Figures
from taskmaster import Job

SECONDS = 20.0
IDLE_AFTER_SECONDS = 3.0
WORKERS = 2
PROCESSES = 2 + WORKERS  # supervisor and template


def measure(_url: str) -> Figures:
    """Return CPU time and statements per second.

    The server is a separate one that counts statements, which would slow down other measurements.
    """
    with (
        database(shared_preload_libraries="pg_stat_statements") as url,
        open_environment(url) as env,
        env.supervisor(notes.consumer(env, note_run, workers=WORKERS)).start() as running,
    ):
        warm_up(env)
        pids = list(process_tree(running.pid))
        if len(pids) != PROCESSES:
            raise BenchmarkFailed(f"there should be {PROCESSES} processes, there are {len(pids)}")
        return measure_idle(url, pids)


def note_run(job: Job) -> None:
    notes.write(job.component, job.id)


def warm_up(env: Environment) -> None:
    """Run a job, and wait until the workers have stopped looking for more."""
    with env.publisher() as publisher:
        publisher.put(QUEUE)
    notes.wait_for(env, 1, within_seconds=10.0)
    time.sleep(IDLE_AFTER_SECONDS)  # a worker that has just become idle looks several times


def measure_idle(url: str, pids: list[int]) -> Figures:
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
    """Return the number of statements since the reset, without our own."""
    row = conn.execute(
        "select sum(calls) from pg_stat_statements where query not like '%pg_stat_statements%'"
    ).fetchone()
    return float(row[0]) if row and row[0] else 0.0


def process_tree(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from process_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of another process in ns resolution. /proc/PID/stat has 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3) returns this on Linux
