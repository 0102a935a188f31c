"""The delay before the next restart."""

from taskmaster.backoff import Backoff


def test_delay_doubles_up_to_its_maximum() -> None:
    backoff = Backoff(base_seconds=0.1, max_seconds=1.0)
    assert [round(backoff.record(0.0), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_failure_after_a_healthy_life_is_not_delayed() -> None:
    backoff = Backoff(base_seconds=0.1, healthy_seconds=10.0)
    for _ in range(5):
        backoff.record(1.0)
    assert backoff.record(10.0) == 0.0
    assert backoff.record(0.0) == 0.1


def test_ten_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(max_seconds=30.0)
    parked = [backoff.record() for _ in range(10_000)]
    assert max(parked) == 30.0


def test_reset_starts_the_backoff_again() -> None:
    backoff = Backoff(base_seconds=0.05)
    backoff.record()
    backoff.record()
    backoff.reset()
    assert backoff.record() == 0.05
