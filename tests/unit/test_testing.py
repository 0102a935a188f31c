"""What users test their own callbacks with: it must show what production would."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest

from taskmaster.consumer import Consumer
from taskmaster.errors import InvalidConfig, InvalidJob, InvalidOutcome, InvalidPayload
from taskmaster.job import ACK, Ack, Job, Outcome, Reject, Retry
from taskmaster.middleware import Handler
from taskmaster.testing import make_job, run


def test_a_payload_arrives_as_it_would_out_of_the_database() -> None:
    assert make_job({"size": (3, 4), "day": date(2020, 2, 29)}).payload == {
        "size": [3, 4],
        "day": "2020-02-29",
    }


def test_what_put_refuses_is_refused_here_too() -> None:
    with pytest.raises(InvalidPayload, match="not JSON"):
        make_job({1, 2})
    with pytest.raises(InvalidJob, match="must not be empty"):
        make_job(queue_name="")
    with pytest.raises(InvalidPayload, match=r"^the headers is not JSON|^the headers"):
        make_job(headers={"trace": object()})


def test_a_job_has_all_that_a_callback_looks_at() -> None:
    job = make_job(headers={"trace": "1"}, run_count=3, priority=2, component="pool", stopping=True)

    assert (job.id, job.queue_name, job.headers, job.run_count, job.priority) == (
        1,
        "test",
        {"trace": "1"},
        3,
        2,
    )
    assert (job.component, job.stopping) == ("pool", True)
    assert datetime.now(UTC) - job.created_at < timedelta(minutes=1)


def test_a_callback_alone_runs() -> None:
    assert run(lambda job: Reject(job.payload["path"]), {"path": "a.jpg"}) == Reject("a.jpg")


def test_returning_nothing_is_an_ack() -> None:
    assert run(lambda job: None) == Ack()


def test_an_unknown_answer_fails_the_test_as_it_would_fail_the_job() -> None:
    with pytest.raises(InvalidOutcome, match="the callback answered True"):
        run(lambda job: True)  # type: ignore[arg-type,return-value]


def test_an_exception_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="path"):
        run(lambda job: job.payload["path"], {})


def test_the_component_is_entered_for_the_run_and_left_after_it() -> None:
    seen = []

    @contextmanager
    def pool() -> Iterator[str]:
        seen.append("opened")
        yield "pool"
        seen.append("closed")

    consumer = Consumer("mail", callback=lambda job: seen.append(job.component), component=pool)

    assert run(consumer) is ACK
    assert seen == ["opened", "pool", "closed"]


def test_a_component_given_by_the_test_stands_in_for_the_real_one() -> None:
    @contextmanager
    def unreachable() -> Iterator[str]:
        raise OSError("no route")
        yield ""

    consumer = Consumer("mail", callback=lambda job: Reject(job.component), component=unreachable)

    assert run(consumer, component="fake") == Reject("fake")


def test_middlewares_run_around_the_callback_in_their_order() -> None:
    def naming(handler: Handler) -> Handler:
        def named(job: Job) -> Outcome:
            outcome = handler(job)
            return (
                Reject(f"{job.queue_name}: {outcome.reason}")
                if isinstance(outcome, Reject)
                else outcome
            )

        return named

    def retrying(handler: Handler) -> Handler:
        return lambda job: Reject("again") if isinstance(handler(job), Retry) else ACK

    assert run(
        Consumer("mail", callback=lambda job: Retry(), middleware=[naming, retrying])
    ) == Reject("mail: again")


def test_arguments_of_the_job_reach_the_callback() -> None:
    consumer = Consumer(
        "mail", callback=lambda job: Reject(f"{job.queue_name} {job.run_count} {job.stopping}")
    )

    assert run(consumer, run_count=4, stopping=True) == Reject("mail 4 True")


def test_a_name_that_stands_for_nothing_is_one_sentence() -> None:
    with pytest.raises(
        InvalidConfig, match=r"^consumer 'mail': callback: there is no module 'absent_module'"
    ):
        run(Consumer("mail", callback="absent_module:send"))
