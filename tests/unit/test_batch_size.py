"""The number of jobs that one claim takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.consumer import MAX_BATCH
from taskmaster.processes.worker.batch_size import TARGET_SECONDS, BatchSize


def test_first_claim_takes_one_job() -> None:
    assert BatchSize().next() == 1


def test_jobs_of_one_second_are_claimed_one_by_one() -> None:
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


def test_slow_batch_shrinks_the_next_claim_at_once() -> None:
    size = BatchSize()
    for _ in range(4):
        size.record(size.next(), 0.0001)
    assert size.next() > 8
    size.record(10, 10.0)
    assert size.next() == 1


def test_fixed_batch_size_never_changes() -> None:
    size = BatchSize(fixed=7)
    size.record(7, 100.0)
    assert size.next() == 7


def test_batch_without_a_started_job_does_not_count() -> None:
    size = BatchSize()
    size.record(0, 5.0)
    assert size.mean_seconds is None


@given(st.lists(st.tuples(st.integers(0, MAX_BATCH), st.floats(0, 1e6)), max_size=30))
def test_claim_is_never_empty_nor_larger_than_a_row_holds(
    batches: list[tuple[int, float]],
) -> None:
    size = BatchSize()
    for jobs, seconds in batches:
        size.record(jobs, seconds)
        assert 1 <= size.next() <= MAX_BATCH


def test_claim_takes_about_the_target_seconds_of_work() -> None:
    size = BatchSize()
    for _ in range(10):
        size.record(size.next(), size.last * 0.001)
    assert size.next() == int(TARGET_SECONDS / 0.001)


@pytest.mark.parametrize("fixed", [None, 500])
def test_claim_that_failed_for_its_size_is_tried_smaller(fixed: int | None) -> None:
    size = BatchSize(fixed=fixed)
    for _ in range(5):
        size.record(size.next(), 0.0001)
    assert size.next() > 100
    size.restart()
    assert [size.next() for _ in range(3)] == [1, 8, 64]
