"""How many jobs one claim takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.consumer import MAX_BATCH
from taskmaster.processes.worker.batch_size import TARGET_SECONDS, BatchSize


def test_the_first_claim_of_slow_jobs_does_not_take_five_hundred() -> None:
    assert BatchSize().next() == 1


def test_jobs_of_a_second_are_claimed_one_by_one() -> None:
    size = BatchSize()
    size.record(1, 1.0)
    assert size.next() == 1


def test_quick_jobs_are_claimed_in_batches_that_grow_in_steps() -> None:
    size = BatchSize()
    wanted = []
    for _ in range(5):
        wanted.append(size.next())
        size.record(wanted[-1], wanted[-1] * 1e-6)
    assert wanted == [1, 8, 64, MAX_BATCH, MAX_BATCH]


def test_one_slow_batch_shrinks_the_next_claim_at_once() -> None:
    size = BatchSize()
    for _ in range(4):
        size.record(size.next(), 0.0001)
    assert size.next() > 8
    size.record(10, 10.0)
    assert size.next() == 1


def test_a_fixed_batch_stays_what_the_consumer_asked_for() -> None:
    size = BatchSize(fixed=7)
    size.record(7, 100.0)
    assert size.next() == 7


def test_a_batch_that_was_taken_back_whole_says_nothing_about_speed() -> None:
    size = BatchSize()
    size.record(0, 5.0)
    assert size.mean_seconds is None


@given(st.lists(st.tuples(st.integers(0, MAX_BATCH), st.floats(0, 1e6)), max_size=30))
def test_a_claim_is_never_empty_nor_larger_than_the_slots_can_hold(
    batches: list[tuple[int, float]],
) -> None:
    size = BatchSize()
    for jobs, seconds in batches:
        size.record(jobs, seconds)
        assert 1 <= size.next() <= MAX_BATCH


def test_a_claim_takes_about_the_target_of_work() -> None:
    size = BatchSize()
    for _ in range(10):
        size.record(size.next(), size.last * 0.001)
    assert size.next() == int(TARGET_SECONDS / 0.001)


@pytest.mark.parametrize("fixed", [None, 500])
def test_a_claim_that_failed_for_its_size_is_tried_smaller(fixed: int | None) -> None:
    size = BatchSize(fixed=fixed)
    for _ in range(5):
        size.record(size.next(), 0.0001)
    assert size.next() > 100
    size.restart()
    assert [size.next() for _ in range(3)] == [1, 8, 64]
