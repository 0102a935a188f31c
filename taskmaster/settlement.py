"""How a run that did not simply ack ends: from outcome to the state that the job goes to. Pure policy, no database."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import msgspec

from taskmaster.consumer import Consumer
from taskmaster.job import Ack, Failure, Outcome, Reject, Retry, State, parse_failure

MAX_EXPONENT = 64
JITTER = (0.75, 1.25)


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where one job goes when its batch is settled. A job without an ending is acked.

    `charged`: the run counts against `max_runs`. `crashed`: it counts against `max_crashes` as well.
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
    """One run as the failure policy sees it: `run` is 1 the first time, `crashes` those before this run."""

    id: int
    run: int
    crashes: int


def released(job_id: int) -> Settlement:
    """Back to ready, uncharged."""
    return Settlement(job_id, State.READY)


def ended(
    run: Run, outcome: Outcome, consumer: Consumer, failure: Failure | None
) -> Settlement | None:
    """What becomes of a job whose callback answered; None: acked."""
    if isinstance(outcome, Ack):
        return None
    if isinstance(outcome, Reject) or consumer.once:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    if isinstance(outcome, Retry):
        return _retried(run, outcome.delay_seconds, consumer, failure)
    return Settlement(run.id, State.SCHEDULED, delay_seconds=float(outcome.delay_seconds))


def _retried(
    run: Run, delay_seconds: float | None, consumer: Consumer, failure: Failure | None
) -> Settlement:
    if run.run >= consumer.max_runs:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    delay = retry_delay(run.run, consumer) if delay_seconds is None else float(delay_seconds)
    return Settlement(run.id, State.SCHEDULED, charged=True, delay_seconds=delay, failure=failure)


def crashed(run: Run, consumer: Consumer, failure: Failure, *, certain: bool = False) -> Settlement:
    """What becomes of a job whose worker died under it. `certain`: of a limit that the job itself exceeded."""
    if run.crashes + 1 >= consumer.max_crashes or run.run >= consumer.max_runs or consumer.once:
        return Settlement(run.id, State.REJECTED, charged=True, crashed=True, failure=failure)
    if (
        run.crashes == 0 and not certain
    ):  # the first time the blame is uncertain: at once, with another worker
        return Settlement(run.id, State.READY, charged=True, crashed=True, failure=failure)
    delay = retry_delay(run.run, consumer)
    return Settlement(
        run.id, State.SCHEDULED, charged=True, crashed=True, delay_seconds=delay, failure=failure
    )


def cut_off(run: Run, consumer: Consumer, failure: Failure) -> Settlement:
    """What becomes of a job that a shutdown stopped: it runs again, uncharged, unless it must never run twice."""
    if consumer.once:
        return Settlement(run.id, State.REJECTED, charged=True, failure=failure)
    return released(run.id)


def retry_delay(run: int, consumer: Consumer) -> float:
    """Seconds before the next run: doubled each time, then 75 to 125 % of it, so that a herd spreads out."""
    delay = consumer.retry_base_seconds * 2.0 ** min(run - 1, MAX_EXPONENT)
    return min(consumer.retry_max_seconds / JITTER[1], delay) * random.uniform(*JITTER)
