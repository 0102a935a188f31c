"""The configuration that the supervisor hands to a child process when it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from taskmaster.consumer import Consumer
from taskmaster.options import LogFormat


class Database(NamedTuple):
    """The database and schema that hold the jobs."""

    url: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The configuration of a template and its workers.

    `source` names the file of the consumers and begins sentences about errors in it. `metrics_dir`
    is the directory of the workers' metric files, or None if no exporter runs. `directory` is that
    of the configuration: its modules and relative paths are looked for there. `open_files` is the
    soft limit with which the supervisor was started.
    """

    database: Database
    consumers: Sequence[Consumer]
    source: str
    workers: int
    notify_ms: int
    metrics_dir: str | None = None
    directory: Path | None = None
    open_files: int | None = None
    log_format: LogFormat = "text"


class ExporterPlan(NamedTuple):
    """The configuration of the exporter. `metrics_dir` is that of the workers, if they have one."""

    database: Database
    metrics_dir: str | None
    log_format: LogFormat = "text"
