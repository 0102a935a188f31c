"""A slow job in a fast batch: the jobs that wait behind it are released to other workers."""

from taskmaster import Admin, Consumer, Publisher, SupervisorOptions
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.queues import is_drained


def test_batch_mates_of_a_slow_job_run_elsewhere_within_a_second(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    slow, *mates = publisher.put_many("q", [{"do": "hold"}, *[{}] * 5])
    slow_after = SupervisorOptions().slow_after_seconds
    with supervise(
        Consumer("q", callback=ACT, concurrency=2, batch=10), slow_after_seconds=slow_after
    ):
        eventually(lambda: [record.id for record in admin.find()] == [slow])
        held = journal.runs_of(slow)[0]
        assert sorted(journal.finished()) == mates
        assert all(run.began - held.began < 1.0 for run in journal.runs())
        assert {run.run for run in journal.runs()} == {1}
        gates.open()
        eventually(lambda: is_drained(admin))
    assert len(journal.runs()) == 6


def test_released_batch_mates_of_a_slow_job_run_once(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    payloads = [{"do": "spin", "seconds": 0.15}, *[{}] * 9] * 6
    ids = publisher.put_many("q", payloads)
    with supervise(Consumer("q", callback=ACT, concurrency=3, batch=30), slow_after_seconds=0.02):
        eventually(lambda: is_drained(admin), within=20.0)
    assert sorted(journal.finished()) == ids
