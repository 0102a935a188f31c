"""`put_many` reads all payloads before it sends one, in bounded memory and without a lock."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from taskmaster import Admin, Publisher, TaskmasterError
from taskmaster.store import spool
from taskmaster.store.connection import Connection

MOST_GROWTH_MB = 120
PUT_LARGE = f"""
import resource, sys
from taskmaster import Publisher

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

with Publisher(sys.argv[1]) as publisher:
    publisher.put("q")
    before = peak_mb()
    ids = publisher.put_many("q", ("x" * 900_000 for _ in range(250)))
assert len(set(ids)) == 250
assert peak_mb() - before < {MOST_GROWTH_MB}, peak_mb() - before
"""


def test_slow_generator_holds_no_lock_and_no_transaction(
    publisher: Publisher, admin: Admin, conn: Connection
) -> None:
    reading, enough = Event(), Event()

    def slow() -> Iterator[int]:
        yield 0
        reading.set()
        assert enough.wait(20)
        yield 1

    publisher.put("other")
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(publisher.put_many, "q", slow())
        assert reading.wait(10)
        publisher.put("other")  # by another thread than the generator's
        sessions = conn.execute(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and state like 'idle in transaction%'"
        ).fetchone()
        enough.set()
        assert len(put.result(10)) == 2
    assert sessions == (0,)
    assert admin.size("other") == 2


@pytest.mark.parametrize("has_own_connection", [True, False])
def test_generator_that_raises_puts_nothing(
    publisher: Publisher, admin: Admin, conn: Connection, has_own_connection: bool
) -> None:
    def broken() -> Iterator[int]:
        yield from range(12_000)
        raise ZeroDivisionError

    connection = conn if has_own_connection else None
    with pytest.raises(ZeroDivisionError):
        publisher.put_many("q", broken(), connection=connection)
    assert admin.size("q") == 0


@pytest.mark.parametrize("headers", [None, {"h": "a\\b\tc"}])
def test_rows_beyond_memory_wait_in_a_file_in_order(
    publisher: Publisher,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str] | None,
) -> None:
    monkeypatch.setattr(spool, "PART_BYTES", 100)
    monkeypatch.setattr(spool, "PARTS_IN_MEMORY", 2)
    payloads = [{"n": n, "text": "\\\n\t é" * (n % 7)} for n in range(100)]
    ids = publisher.put_many("q", payloads, headers=headers)
    found = {job.id: job for job in admin.find(most=100)}
    assert [found[job_id].payload for job_id in ids] == payloads
    assert {str(job.headers) for job in found.values()} == {str(headers)}


def test_large_payloads_take_memory_for_a_few(database_url: str, publisher: Publisher) -> None:
    command = [sys.executable, "-c", PUT_LARGE, database_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_full_directory_for_temporary_files_is_one_sentence(
    publisher: Publisher, admin: Admin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "PARTS_IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(TaskmasterError, match="set TMPDIR"):
        publisher.put_many("q", [1])
    assert admin.size("q") == 0
