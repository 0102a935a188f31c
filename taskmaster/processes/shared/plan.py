"""All that the template and its workers need to know, handed over once at the template's start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskmaster.consumer import Consumer


class Database(NamedTuple):
    """Where the jobs are."""

    url: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`source` names the file that the consumers came from, for sentences about what is wrong in it.

    `metrics_dir`: where the workers count; None: nobody asks.
    """

    database: Database
    consumers: Sequence[Consumer]
    source: str
    workers: int
    notify_ms: int
    metrics_dir: str | None = None


class ExporterPlan(NamedTuple):
    """What the exporter needs to know."""

    database: Database
    metrics_dir: str
