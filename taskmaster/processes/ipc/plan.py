"""What a child process needs to know, handed over once when it starts."""

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
    """What the template and its workers need to know.

    `source` names the file of the consumers, for sentences about errors in it. `metrics_dir` is
    where the workers count, or None if no exporter runs.
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
