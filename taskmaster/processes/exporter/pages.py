"""The pages of the exporter, as text."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from taskmaster.processes.exporter import families
from taskmaster.processes.exporter.channel import ANSWER_SECONDS, Channel
from taskmaster.processes.exporter.counted import Counted
from taskmaster.processes.exporter.queues import Queues

TEXT = "text/plain; charset=utf-8"
SCRAPE_ANSWER_SECONDS = 0.03  # so that a scrape is done within 50 ms, whatever the supervisor is at


class Page(NamedTuple):
    status: int
    content_type: str
    body: bytes


class Pages:
    """What there is to be asked."""

    def __init__(self, channel: Channel, counted: Counted, queues: Queues) -> None:
        self._channel, self._counted, self._queues = channel, counted, queues

    def page(self, path: str, accept: str) -> Page:
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
                return _text(404, "there is /metrics, /healthz and /readyz")

    def metrics(self, accept: str) -> Page:
        """In the format that the scraper asks for: Prometheus's text format, or OpenMetrics."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is none
            encode, content_type = choose_encoder("")
        found = self.collected()
        registry = CollectorRegistry()
        registry.register(_Collected(found))
        return Page(200, content_type, encode(registry))

    def collected(self) -> list[Metric]:
        snapshot = self._channel.ask(SCRAPE_ANSWER_SECONDS) or self._channel.recent()
        is_up = snapshot is not None
        found = [*families.build_info(), families.supervisor_up(is_up), *self._counted.families()]
        if snapshot is not None:
            names = [queue.name for queue in snapshot.queues]
            found += families.of_supervisor(snapshot)
            found += families.of_workers(snapshot.queues)
            found += families.of_queues(self._queues.figures(names))
        return found

    def healthz(self) -> Page:
        """Does the supervisor's loop turn?"""
        if self._channel.ask(ANSWER_SECONDS) is None:
            return _text(503, f"the supervisor has not answered within {ANSWER_SECONDS:g} s")
        return _text(200, "ok")

    def readyz(self) -> Page:
        """Can jobs be run? When not, the body says what is missing."""
        snapshot = self._channel.ask(ANSWER_SECONDS)
        if snapshot is None:
            return _text(503, f"the supervisor has not answered within {ANSWER_SECONDS:g} s")
        missing = {
            "the database does not answer": not snapshot.database_up,
            "the LISTEN connection is down": not snapshot.listener_up,
            "not all workers are up": not snapshot.workers_up,
            "it is stopping": snapshot.stopping,
        }
        reasons = [reason for reason, is_so in missing.items() if is_so]
        return _text(503, "not ready: " + ", ".join(reasons)) if reasons else _text(200, "ready")


class _Collected:
    """What was collected already, in the shape of a collector."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def _text(status: int, text: str) -> Page:
    return Page(status, TEXT, f"{text}\n".encode())
