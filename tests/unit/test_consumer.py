"""The values that a consumer may have, and one sentence for each that it may not."""

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from taskmaster.consumer import Consumer
from taskmaster.errors import InvalidConfig


def consumer(**keys: Any) -> Consumer:
    return Consumer(**{"queue_name": "mail", "callback": "mails:send", **keys})


def test_consumer_needs_only_a_queue_and_a_callback() -> None:
    made = Consumer("mail", callback=lambda job: None)

    assert (made.concurrency, made.delivery, made.max_runs, made.max_crashes) == (
        1,
        "at_least_once",
        5,
        3,
    )
    assert (made.middleware, made.component, made.batch) == ((), None, "auto")


def test_consumer_is_frozen_and_can_be_pickled() -> None:
    made = consumer(concurrency=3, middleware=({"use": "logging"},))

    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(FrozenInstanceError):
        made.concurrency = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("concurrency", 1),
        ("concurrency", 1000),
        ("max_runs", 10_000),
        ("max_crashes", 1),
        ("batch", 1),
        ("batch", 500),
        ("batch", "auto"),
        ("retry_base_seconds", 0),
        ("retry_max_seconds", 0.001),
        ("queue_name", "x" * 200),
        ("queue_name", "'; drop table jobs; -- 📬"),
    ],
)
def test_bounds_themselves_are_allowed(key: str, value: object) -> None:
    assert getattr(consumer(**{key: value}), key) == value


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("concurrency", 0, "a whole number from 1 to 1000"),
        ("concurrency", 1001, "a whole number from 1 to 1000"),
        ("concurrency", True, "a whole number from 1 to 1000"),
        ("concurrency", 2.0, "a whole number from 1 to 1000"),
        ("concurrency", None, "a whole number from 1 to 1000"),
        ("max_runs", 0, "a whole number from 1 to 10000"),
        ("max_crashes", "3", "a whole number from 1 to 10000"),
        ("batch", 501, 'a whole number from 1 to 500 or "auto"'),
        ("batch", "all", 'a whole number from 1 to 500 or "auto"'),
        ("retry_base_seconds", -1, "a number of seconds from 0 to ten years"),
        ("retry_base_seconds", float("nan"), "a number of seconds from 0 to ten years"),
        ("retry_max_seconds", float("inf"), "a number of seconds from 0 to ten years"),
        ("retry_max_seconds", True, "a number of seconds from 0 to ten years"),
        ("delivery", "exactly_once", "one of 'at_least_once', 'at_most_once', 'transactional'"),
        ("nice", 20, "a whole number from -20 to 19"),
        ("cpu_affinity", 0, "a list of CPU numbers, like [0, 1]"),
        ("cpu_affinity", ["0"], "a list of CPU numbers, like [0, 1]"),
        ("max_jobs_per_worker", 0, "a whole number from 1 to 1000000000000"),
        ("callback", 3, 'a function or "module:name"'),
        ("callback", None, 'a function or "module:name"'),
    ],
)
def test_value_out_of_range_is_refused_with_key_and_range(
    key: str, value: object, allowed: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        consumer(**{key: value})

    assert str(refused.value).startswith(f"{key} must be {allowed}, got {value!r}")


@pytest.mark.parametrize("queue_name", ["", "  ", "x" * 201, "a\0b", "\ud800", 7, None, b"mail"])
def test_queue_name_that_cannot_be_stored_is_refused(queue_name: object) -> None:
    with pytest.raises(InvalidConfig, match=r"^queue_name: (a )?queue name "):
        consumer(queue_name=queue_name)
