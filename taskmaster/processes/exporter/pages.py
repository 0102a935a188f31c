"""The exporter's pages: what each path returns, independent of HTTP."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from taskmaster.processes.exporter import families
from taskmaster.processes.exporter.channel import REPLY_SECONDS, Channel
from taskmaster.processes.exporter.queues import Queues
from taskmaster.processes.exporter.worker_metrics import WorkerMetrics

TEXT = "text/plain; charset=utf-8"
# So that a scrape takes at most 50 ms, whatever the supervisor is doing.
SCRAPE_REPLY_SECONDS = 0.03


class Page(NamedTuple):
    """One HTTP response."""

    status: int
    content_type: str
    body: bytes


class Pages:
    """Makes the pages from what the supervisor, the workers and the store report."""

    def __init__(self, channel: Channel, worker_metrics: WorkerMetrics, queues: Queues) -> None:
        self._channel, self._worker_metrics, self._queues = channel, worker_metrics, queues

    def page(self, path: str, accept: str) -> Page:
        """Return the page at `path`."""
        match path:
            case "/metrics":
                return self.metrics(accept)
            case "/healthz":
                return self.healthz()
            case "/readyz":
                return self.readyz()
            case "/":
                return _text(200, "taskmaster: /metrics /healthz /readyz")
            case _:
                return _text(404, "not found: there are /metrics, /healthz and /readyz")

    def metrics(self, accept: str) -> Page:
        """Return all metrics in the format that the scraper accepts: Prometheus or OpenMetrics."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # the version in the header is malformed
            encode, content_type = choose_encoder("")
        registry = CollectorRegistry()
        registry.register(_Collector(self._collect()))
        return Page(200, content_type, encode(registry))

    def healthz(self) -> Page:
        """Return 200 if the supervisor's loop replies, else 503."""
        if self._channel.ask(REPLY_SECONDS) is None:
            return _no_reply()
        return _text(200, "ok")

    def readyz(self) -> Page:
        """Return 200 if jobs can run, else 503 with what is missing."""
        snapshot = self._channel.ask(REPLY_SECONDS)
        if snapshot is None:
            return _no_reply()
        missing = {
            "the database does not respond": not snapshot.database_up,
            "the LISTEN connection is down": not snapshot.listener_up,
            "not all workers are up": not snapshot.workers_up,
            "it is stopping": snapshot.stopping,
        }
        reasons = [reason for reason, is_missing in missing.items() if is_missing]
        reasons += snapshot.database_troubles
        return _text(503, "not ready: " + ", ".join(reasons)) if reasons else _text(200, "ready")

    def _collect(self) -> list[Metric]:
        snapshot = self._channel.ask(SCRAPE_REPLY_SECONDS) or self._channel.recent()
        found = [*families.build_info(), families.supervisor_up(snapshot is not None)]
        found += self._worker_metrics.families()
        if snapshot is not None:
            names = [queue.name for queue in snapshot.queues]
            found += families.of_supervisor(snapshot)
            found += families.of_workers(snapshot.queues)
            counts = self._queues.counts(names)
            found += families.of_queues(counts.stats)
            found.append(families.of_jobs_without_supervisor(counts.unserved))
        return found


class _Collector:
    """Metrics that are collected already, in the form that a registry accepts."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def _no_reply() -> Page:
    return _text(503, f"the supervisor has not replied within {REPLY_SECONDS:g} s")


def _text(status: int, text: str) -> Page:
    return Page(status, TEXT, f"{text}\n".encode())
