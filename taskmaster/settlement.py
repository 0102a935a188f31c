"""The failure policy: what becomes of a job whose run did not simply ack. Pure, no database."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import msgspec

from taskmaster.consumer import Consumer
from taskmaster.failure import Failure, parse_failure
from taskmaster.job import Ack, Outcome, Reject, Retry, State

MAX_EXPONENT = 64
JITTER = (0.75, 1.25)
POSTPONED_SECONDS = 60.0
# A delay that an outcome names is at least this long, so that a job which returns Snooze(0) again
# and again does not keep a worker and the database busy.
SHORTEST_DELAY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where one job goes when its batch is settled. A job without a settlement is acked.

    `charged` counts the run against `max_runs`, `crashed` against `max_crashes` as well. `failure`
    is appended to the job's history.
    """

    id: int
    state: State
    charged: bool = False
    crashed: bool = False
    delay_seconds: float = 0.0
    failure: Failure | None = None

    @property
    def failure_json(self) -> str | None:
        """Return the failure as JSON, as the job's history keeps it."""
        return None if self.failure is None else msgspec.json.encode(self.failure).decode()


def to_entry(settlement: Settlement) -> dict[str, Any]:
    """Return the settlement as JSON values, for the scoreboard."""
    return asdict(settlement) | {"failure": msgspec.to_builtins(settlement.failure)}


def from_entry(entry: Mapping[str, Any]) -> Settlement:
    """Return the settlement that `to_entry` turned into `entry`."""
    failure = None if entry["failure"] is None else parse_failure(entry["failure"])
    return Settlement(**{**entry, "state": State(entry["state"]), "failure": failure})


class Run(NamedTuple):
    """One run. `run` is 1 for the first, `crashes` counts those before this run."""

    id: int
    run: int
    crashes: int


def release(job_id: int) -> Settlement:
    """Return a settlement that makes the job ready again, uncharged."""
    return Settlement(job_id, State.READY)


def for_outcome(
    run: Run, outcome: Outcome, consumer: Consumer, failure: Failure | None
) -> Settlement | None:
    """Return the settlement of a job whose callback returned, or None if it is acked."""
    if isinstance(outcome, Ack):
        return None
    if isinstance(outcome, Reject) or consumer.is_at_most_once:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    if isinstance(outcome, Retry):
        return _for_retry(run, outcome.delay_seconds, consumer, failure)
    return Settlement(run.id, State.SCHEDULED, delay_seconds=_bounded(outcome.delay_seconds))


def _for_retry(
    run: Run, delay_seconds: float | None, consumer: Consumer, failure: Failure | None
) -> Settlement:
    if run.run >= consumer.max_runs:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    delay = retry_delay(run.run, consumer) if delay_seconds is None else _bounded(delay_seconds)
    return Settlement(run.id, State.SCHEDULED, charged=True, delay_seconds=delay, failure=failure)


def _bounded(delay_seconds: float) -> float:
    return max(SHORTEST_DELAY_SECONDS, float(delay_seconds))


def for_crash(
    run: Run, consumer: Consumer, failure: Failure, *, certain: bool = False
) -> Settlement:
    """Return the settlement of a job whose worker crashed while it ran.

    `certain` is True if the job is to blame, because it exceeded a limit.
    """
    state, delay = State.SCHEDULED, 0.0
    if (
        run.crashes + 1 >= consumer.max_crashes
        or run.run >= consumer.max_runs
        or consumer.is_at_most_once
    ):
        state = State.REJECTED
    elif run.crashes == 0 and not certain:
        state = State.READY  # perhaps the job is not to blame: another worker tries it at once
    else:
        delay = retry_delay(run.run, consumer)
    return Settlement(
        run.id, state, charged=True, crashed=True, delay_seconds=delay, failure=failure
    )


def for_interruption(run: Run, consumer: Consumer, failure: Failure) -> Settlement:
    """Return the settlement of a job that a shutdown stopped.

    It runs again, uncharged, unless it must never run twice.
    """
    if consumer.is_at_most_once:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    return release(run.id)


def without_texts(settlement: Settlement, why: str) -> Settlement:
    """Return a settlement that could not be written, with `why` in place of its record's texts."""
    if settlement.failure is None:
        return settlement
    return replace(settlement, failure=_plain_record(settlement, "the record of this run", why))


def as_rejected(settlement: Settlement, why: str) -> Settlement:
    """Return a settlement that could not be written, as a rejection that says why.

    A job that has not run is not rejected, but released as before.
    """
    if settlement.state == State.READY and not settlement.charged:
        return settlement
    record = _plain_record(settlement, "the outcome of this run", why)
    return Settlement(settlement.id, State.REJECTED, charged=True, failure=record)


def as_bare_rejection(settlement: Settlement, why: str) -> Settlement:
    """Return a settlement that could not be written, as a rejection without a record."""
    return replace(as_rejected(settlement, why), failure=None)


def as_postponed(settlement: Settlement, why: str) -> Settlement:
    """Return a settlement that could not be written, as one that lets the job run again later."""
    return Settlement(
        settlement.id,
        State.SCHEDULED,
        charged=True,
        delay_seconds=POSTPONED_SECONDS,
        failure=_plain_record(settlement, "the outcome of this run", why),
    )


# The forms in which a settlement is tried, one after the other, until one can be written.
SIMPLER_FORMS = (without_texts, as_rejected, as_bare_rejection)


def _plain_record(settlement: Settlement, subject: str, why: str) -> Failure:
    """Return a record that keeps the cause, and says in ASCII what could not be written."""
    known = settlement.failure or Failure(cause="rejected", message="")
    plain = why.encode("ascii", "replace").decode()
    message = f"{subject} cannot be written: {plain}"
    return Failure(cause=known.cause, message=message, run=known.run, at=known.at)


def retry_delay(run: int, consumer: Consumer) -> float:
    """Return the seconds until the next run. They double each time.

    The result is 75 to 125 % of that, so that jobs which failed together do not retry together.
    """
    delay = consumer.retry_base_seconds * 2.0 ** min(run - 1, MAX_EXPONENT)
    return min(consumer.retry_max_seconds / JITTER[1], delay) * random.uniform(*JITTER)
