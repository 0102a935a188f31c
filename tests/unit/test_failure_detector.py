"""How long other supervisors have been silent, by the test's own clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from taskmaster.processes.supervisor.database.failure_detector import (
    DISCONNECTED_HEARTBEATS,
    GIVEN_UP_FACTOR,
    FailureDetector,
)

HEARTBEAT_SECONDS, GONE_AFTER_SECONDS = 1.0, 10.0
LONG_AGO = datetime(1999, 1, 1, tzinfo=UTC)
A, B = 7, 8


@dataclass
class Cluster:
    """A supervisor that observes others, and their last heartbeats by another clock."""

    failure_detector: FailureDetector = field(
        default_factory=lambda: FailureDetector(HEARTBEAT_SECONDS, GONE_AFTER_SECONDS)
    )
    now: float = 1000.0
    others: dict[int, datetime] = field(default_factory=dict)

    def beat(self, *ids: int, clock: datetime = LONG_AGO) -> None:
        """Let these send a heartbeat. Its time is independent of `now`."""
        for id in ids:
            self.others[id] = max(clock, self.others.get(id, clock) + timedelta(microseconds=1))

    def pass_time(self, seconds: float, *running: int) -> None:
        """Let time pass while these send heartbeats, and observe once per heartbeat."""
        until = self.now + seconds
        while self.now < until:
            self.now += HEARTBEAT_SECONDS
            self.beat(*running)
            self.observe()

    def observe(self) -> None:
        self.failure_detector.observe(self.others, self.now)

    def suspects(self) -> list[int]:
        return [one.id for one in self.failure_detector.suspects(self.now)]

    def given_up(self) -> list[int]:
        return [one.id for one in self.failure_detector.suspects(self.now) if one.given_up]


@pytest.fixture
def cluster() -> Cluster:
    """A supervisor that has just observed two others."""
    cluster = Cluster()
    cluster.beat(A, B)
    cluster.observe()
    return cluster


def test_supervisor_that_beats_is_never_silent(cluster: Cluster) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS * 100, A, B)
    assert cluster.suspects() == []


def test_silent_supervisor_is_named_with_its_last_heartbeat(
    cluster: Cluster,
) -> None:
    last = cluster.others[A]
    cluster.pass_time(GONE_AFTER_SECONDS, B)
    (found,) = cluster.failure_detector.suspects(cluster.now)
    assert (found.id, found.heartbeat_at, found.given_up) == (A, last, False)


def test_pause_shorter_than_gone_after_is_no_silence(cluster: Cluster) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS - 3 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []
    cluster.pass_time(HEARTBEAT_SECONDS, A, B)
    cluster.pass_time(GONE_AFTER_SECONDS - 3 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []


def test_stopped_and_new_supervisors_are_not_silent(
    cluster: Cluster,
) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS - 3 * HEARTBEAT_SECONDS, B)
    del cluster.others[A]
    cluster.beat(9)
    cluster.pass_time(3 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []


def test_clock_that_is_years_off_does_not_matter(cluster: Cluster) -> None:
    cluster.beat(A, clock=LONG_AGO + timedelta(days=20_000))
    cluster.pass_time(HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []
    cluster.pass_time(GONE_AFTER_SECONDS, B)
    assert cluster.suspects() == [A]


def test_heartbeat_with_a_clock_set_back_counts(cluster: Cluster) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS - 3 * HEARTBEAT_SECONDS, B)
    cluster.others[A] -= timedelta(hours=1)
    cluster.pass_time(4 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []


@pytest.mark.parametrize(
    "away_seconds", [DISCONNECTED_HEARTBEATS * HEARTBEAT_SECONDS + 0.01, GONE_AFTER_SECONDS * 100]
)
def test_own_absence_restarts_the_count(cluster: Cluster, away_seconds: float) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS * GIVEN_UP_FACTOR, B)
    assert cluster.given_up() == [A]
    cluster.now += away_seconds
    cluster.observe()
    assert cluster.suspects() == []
    cluster.pass_time(GONE_AFTER_SECONDS - 3 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []
    cluster.pass_time(HEARTBEAT_SECONDS, B)
    assert (cluster.suspects(), cluster.given_up()) == ([A], [])


def test_own_late_heartbeat_is_no_absence(cluster: Cluster) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS / 2, B)
    cluster.now += DISCONNECTED_HEARTBEATS * HEARTBEAT_SECONDS
    cluster.beat(B)
    cluster.observe()
    cluster.pass_time(2 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == [A]


def test_new_connection_restarts_the_count(cluster: Cluster) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS * GIVEN_UP_FACTOR, B)
    cluster.failure_detector.forget()
    assert cluster.suspects() == []
    cluster.pass_time(GONE_AFTER_SECONDS - 2 * HEARTBEAT_SECONDS, B)
    assert cluster.suspects() == []


def test_supervisors_suspect_no_other_after_a_failover() -> None:
    us, them = Cluster(), Cluster()
    for one in (us, them):
        one.beat(A)
        one.observe()
        one.now += GONE_AFTER_SECONDS * GIVEN_UP_FACTOR * 2
        one.failure_detector.forget()
        one.observe()
        assert one.suspects() == []


def test_supervisor_with_a_session_is_given_up_four_times_later(
    cluster: Cluster,
) -> None:
    cluster.pass_time(GONE_AFTER_SECONDS * GIVEN_UP_FACTOR - HEARTBEAT_SECONDS, B)
    assert (cluster.suspects(), cluster.given_up()) == ([A], [])
    cluster.pass_time(HEARTBEAT_SECONDS, B)
    assert cluster.given_up() == [A]


def seconds_until_suspected(phase: float) -> float:
    """Return how long after its last heartbeat a supervisor is suspected.

    The observer looks `phase` seconds after each heartbeat.
    """
    cluster = Cluster()
    cluster.beat(A)
    last_at, cluster.now = cluster.now, cluster.now + phase
    cluster.observe()
    while not cluster.suspects():
        cluster.pass_time(HEARTBEAT_SECONDS)
    return cluster.now - last_at


@pytest.mark.parametrize("phase", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_lost_supervisor_is_found_within_gone_after_seconds(
    phase: float,
) -> None:
    seconds = seconds_until_suspected(phase)
    assert GONE_AFTER_SECONDS - 2 * HEARTBEAT_SECONDS <= seconds <= GONE_AFTER_SECONDS


@pytest.mark.parametrize("ids", [{}, {B: LONG_AGO}])
def test_detector_suspects_no_supervisor_at_first(ids: Mapping[int, datetime]) -> None:
    failure_detector = FailureDetector(HEARTBEAT_SECONDS, GONE_AFTER_SECONDS)
    assert failure_detector.suspects(10.0**9) == []
    failure_detector.observe(ids, 10.0**9)
    assert failure_detector.suspects(10.0**9) == []
