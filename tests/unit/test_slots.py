"""The shared table by which the supervisor knows what a dead worker was doing."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from taskmaster.consumer import MAX_BATCH
from taskmaster.processes.shared.slots import (
    ENDED,
    IDLE,
    JOURNAL_BYTES,
    PHASE,
    STARTED,
    STARTED_AT,
    Slot,
    Slots,
)

TOKEN = uuid4()


@pytest.fixture
def slots() -> Iterator[Slots]:
    slots = Slots(2)
    yield slots
    os.close(slots.fd)


@pytest.fixture
def slot(slots: Slots) -> Slot:
    return slots.slot(0)


def test_a_worker_that_died_between_two_batches_leaves_nothing_to_settle(slot: Slot) -> None:
    assert slot.remains() is None
    slot.begin(TOKEN, [1, 2])
    slot.finish()
    assert slot.remains() is None
    assert slot.served == 1


def test_the_running_job_is_told_from_those_that_ended_and_those_not_started(slot: Slot) -> None:
    slot.begin(TOKEN, [10, 20, 30, 40])
    slot.cells[STARTED], slot.cells[ENDED], slot.cells[STARTED_AT] = 3, 2, 123
    remains = slot.remains()
    assert remains is not None
    assert (remains.token, remains.ended, remains.running, remains.unstarted) == (
        TOKEN,
        [10, 20],
        30,
        [40],
    )
    assert remains.running_since_ns == 123


def test_a_worker_that_died_after_its_claim_has_no_running_job(slot: Slot) -> None:
    slot.begin(TOKEN, [1, 2])
    remains = slot.remains()
    assert remains is not None
    assert (remains.running, remains.unstarted) == (None, [1, 2])


def test_a_worker_that_died_while_settling_has_only_ended_jobs(slot: Slot) -> None:
    slot.begin(TOKEN, [1, 2])
    slot.cells[STARTED] = slot.cells[ENDED] = 2
    remains = slot.remains()
    assert remains is not None
    assert (remains.ended, remains.running, remains.unstarted) == ([1, 2], None, [])


def test_what_was_noted_of_the_last_batch_is_not_taken_for_this_one(slot: Slot) -> None:
    slot.begin(TOKEN, [1])
    assert slot.write({"id": 1, "state": "rejected"})
    slot.finish()
    slot.begin(uuid4(), [2])
    assert slot.entries() == []


def test_entries_with_line_ends_and_emoji_come_back_whole(slot: Slot) -> None:
    slot.begin(TOKEN, [1])
    entry = {"id": 1, "failure": {"message": "line\nand\r\n\u2028 🦀"}}
    assert slot.write(entry)
    assert slot.entries() == [entry]


def test_a_full_journal_says_so_and_keeps_what_it_has(slot: Slot) -> None:
    slot.begin(TOKEN, [1, 2])
    big = {"id": 1, "failure": "x" * (JOURNAL_BYTES // 2)}
    assert slot.write(big)
    assert not slot.write(big)
    assert slot.entries() == [big]


def test_the_largest_batch_fits_and_does_not_run_into_the_next_slot(slots: Slots) -> None:
    first, second = slots.slot(0), slots.slot(1)
    second.begin(TOKEN, [9])
    ids = [2**63 - 1 - n for n in range(MAX_BATCH)]
    first.begin(TOKEN, ids)
    assert first.batch() == (TOKEN, ids)
    assert first.entries() == []
    assert second.batch() == (TOKEN, [9])


def test_a_new_worker_does_not_inherit_what_the_dead_one_was_told(slot: Slot) -> None:
    slot.begin(TOKEN, [1])
    slot.cells[PHASE] = IDLE
    slot.write({"boot": "no licence"})
    slot.clear()
    assert not slot.idle
    assert not slot.booted
    assert slot.remains() is None
    assert slot.entries() == []


def test_the_supervisor_sees_what_another_process_writes(slots: Slots) -> None:
    theirs = Slots(2, os.dup(slots.fd))
    theirs.slot(1).begin(TOKEN, [5])
    theirs.notified_until_ns = 77
    assert slots.slot(1).batch() == (TOKEN, [5])
    assert slots.slot(0).remains() is None
    assert slots.notified_until_ns == 77
    os.close(theirs.fd)
