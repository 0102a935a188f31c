"""The shared table that tells the supervisor what a worker was doing when it exited."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from taskmaster.consumer import MAX_BATCH
from taskmaster.processes.ipc.scoreboard import (
    JOURNAL_BYTES,
    Phase,
    Scoreboard,
    ScoreboardRow,
)

TOKEN = uuid4()


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    scoreboard = Scoreboard(2)
    yield scoreboard
    os.close(scoreboard.fd)


@pytest.fixture
def row(scoreboard: Scoreboard) -> ScoreboardRow:
    return scoreboard.row(0)


def test_settled_batch_leaves_no_batch_to_settle(
    row: ScoreboardRow,
) -> None:
    assert row.batch.unsettled() is None
    row.batch.begin(TOKEN, [1, 2])
    row.batch.finish()
    assert row.batch.unsettled() is None
    assert row.settled_batches == 1


def test_ended_current_and_unstarted_jobs_are_distinguished(
    row: ScoreboardRow,
) -> None:
    row.batch.begin(TOKEN, [10, 20, 30, 40])
    row.batch.end_job(2)
    row.batch.start_job(3)
    unsettled_batch = row.batch.unsettled()
    assert unsettled_batch is not None
    assert (
        unsettled_batch.token,
        unsettled_batch.ended,
        unsettled_batch.current,
        unsettled_batch.unstarted,
    ) == (
        TOKEN,
        [10, 20],
        30,
        [40],
    )
    run = row.batch.current_run()
    assert run is not None
    assert run.job_id == 30
    assert unsettled_batch.started_ns == run.started_ns > 0


def test_batch_before_its_first_job_has_no_current_job(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1, 2])
    unsettled_batch = row.batch.unsettled()
    assert unsettled_batch is not None
    assert (unsettled_batch.current, unsettled_batch.unstarted) == (None, [1, 2])


def test_batch_after_its_last_job_has_only_ended_jobs(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1, 2])
    row.batch.start_job(2)
    row.batch.end_job(2)
    unsettled_batch = row.batch.unsettled()
    assert unsettled_batch is not None
    assert (unsettled_batch.ended, unsettled_batch.current, unsettled_batch.unstarted) == (
        [1, 2],
        None,
        [],
    )


def test_new_batch_has_no_entries_of_the_last_one(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1])
    assert row.batch.write_entry({"id": 1, "state": "rejected"})
    row.batch.finish()
    row.batch.begin(uuid4(), [2])
    assert row.batch.entries() == []


def test_entries_with_line_ends_and_emoji_come_back_whole(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1])
    entry = {"id": 1, "failure": {"message": "line\nand\r\n\u2028 🦀"}}
    assert row.batch.write_entry(entry)
    assert row.batch.entries() == [entry]


def test_full_journal_refuses_an_entry_and_keeps_the_others(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1, 2])
    big = {"id": 1, "failure": "x" * (JOURNAL_BYTES // 2)}
    assert row.batch.write_entry(big)
    assert not row.batch.write_entry(big)
    assert row.batch.entries() == [big]


def test_largest_batch_fits_into_its_row(scoreboard: Scoreboard) -> None:
    first, second = scoreboard.row(0), scoreboard.row(1)
    second.batch.begin(TOKEN, [9])
    ids = [2**63 - 1 - n for n in range(MAX_BATCH)]
    first.batch.begin(TOKEN, ids)
    assert first.batch.current() == (TOKEN, ids)
    assert first.batch.entries() == []
    assert second.batch.current() == (TOKEN, [9])


def test_cleared_row_has_nothing_of_the_worker_before(row: ScoreboardRow) -> None:
    row.batch.begin(TOKEN, [1])
    row.phase = Phase.IDLE
    row.batch.write_entry({"boot": "no licence"})
    row.clear()
    assert row.phase != Phase.IDLE
    assert row.phase == Phase.BOOTING
    assert row.batch.unsettled() is None
    assert row.batch.entries() == []


def test_write_of_another_process_is_visible(scoreboard: Scoreboard) -> None:
    theirs = Scoreboard(2, os.dup(scoreboard.fd))
    theirs.row(1).batch.begin(TOKEN, [5])
    theirs.notified_until_ns = 77
    assert scoreboard.row(1).batch.current() == (TOKEN, [5])
    assert scoreboard.row(0).batch.unsettled() is None
    assert scoreboard.notified_until_ns == 77
    os.close(theirs.fd)


def test_damaged_entries_leave_no_job_ended(row: ScoreboardRow) -> None:
    row.batch.begin(uuid4(), [1, 2])
    row.batch.start_job(1)
    row.batch.write_entry({"id": 1})
    row.batch.end_job(1)
    row.batch._journal[:3] = b"\xff\x00["
    unsettled_batch = row.batch.unsettled()
    assert unsettled_batch is not None
    assert (unsettled_batch.ended, unsettled_batch.entries) == ([], [])
