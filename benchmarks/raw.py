"""The raw ceiling: bare processes that execute the product's claim and ack, and nothing else."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import orjson
from psycopg.types.json import set_json_loads

from benchmarks.environment import QUEUE, BenchmarkFailed, Environment
from taskmaster.consumer import MAX_BATCH
from taskmaster.store.connection import connect_worker
from taskmaster.store.cursor import TOPS
from taskmaster.store.leases import ID, POSITION, TOKEN
from taskmaster.store.statements import statement

LANES = 10
BOTTOM = -1
START_SECONDS = 30.0
RESULT_SECONDS = 120.0


class Share(NamedTuple):
    """The work of one process. Times are monotonic, in seconds."""

    jobs: int
    began: float
    ended: float


def drain(env: Environment, jobs: int, *, processes: int) -> float:
    """Return the jobs per second of all processes together.

    Raises BenchmarkFailed unless exactly `jobs` jobs were claimed and acked.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, initializer=_keep, initargs=(barrier,)) as pool:
        futures = [pool.submit(work, env.url, env.schema) for _ in range(processes)]
        shares = [future.result(RESULT_SECONDS) for future in futures]
    env.expect_jobs(0)
    if (done := sum(share.jobs for share in shares)) != jobs:
        raise BenchmarkFailed(f"{jobs} jobs should have been drained, {done} were")
    return jobs / (max(share.ended for share in shares) - min(share.began for share in shares))


def _keep(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


_barrier: Barrier


def work(url: str, schema: str) -> Share:
    """Claim and ack until the queue is empty, starting when all processes are connected."""
    jobs, lows = 0, [BOTTOM] * LANES
    with connect_worker(url, schema) as conn:
        set_json_loads(orjson.loads, conn)  # the bare loop decodes every payload at once
        _barrier.wait(START_SECONDS)
        began = ended = time.monotonic()
        while True:
            cursor = conn.cursor(binary=True).execute(statement("leases/claim"), parameters(lows))
            rows = [row for row in cursor.fetchall() if row[ID] is not None]
            if not rows and lows[0] == BOTTOM:
                return Share(jobs, began, ended)
            # The product's claim cursor: start where the last claim started, and at the bottom if
            # that finds nothing.
            lows[0] = min(row[POSITION] for row in rows) - 1 if rows else BOTTOM
            if rows:
                conn.execute(statement("leases/ack"), {"token": rows[0][TOKEN]})
                jobs, ended = jobs + len(rows), time.monotonic()


def parameters(lows: list[int]) -> dict[str, Any]:
    return {
        "priorities": list(range(LANES)), "lows": lows, "highs": TOPS, "batch": MAX_BATCH,
        "supervisor": 0, "worker": "raw", "queue_name": QUEUE,
        "once": False, "durable": False, "done": None,
    }  # fmt: skip
