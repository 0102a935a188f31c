"""Asking a supervisor's exporter what it exports, as Prometheus does."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.descriptors import opened
from tests.support.waiting import eventually

LISTENING = "0A"  # its state in /proc/net/tcp
ANSWER_SECONDS = 10.0


class Answer(NamedTuple):
    status: int
    content_type: str
    text: str


class Exporter:
    """The exporter of a supervisor that was told `http="127.0.0.1:0"`."""

    def __init__(self, supervisor_pid: int) -> None:
        self.port = port_of(supervisor_pid)

    def get(self, path: str, accept: str = "") -> Answer:
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
        except HTTPError as error:
            return Answer(error.code, error.headers["Content-Type"], error.read().decode())

    def sum(self, sample: str, **labels: str) -> float:
        """All samples of this name that have these labels, together."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        found = [one for family in families for one in family.samples if one.name == sample]
        return sum(one.value for one in found if labels.items() <= one.labels.items())


def port_of(pid: int, *, within: float = 10.0) -> int:
    """The same, once it listens."""
    port = eventually(lambda: listening_port(pid), within=within)
    assert port is not None
    return port


def listening_port(pid: int) -> int | None:
    """The TCP port at which a process listens."""
    inodes = set(_sockets(pid))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENING and fields[9] in inodes:
            return int(fields[1].partition(":")[2], 16)
    return None


def _sockets(pid: int) -> Iterator[str]:
    for name in opened(pid).values():
        if name.startswith("socket:["):
            yield name[len("socket:[") : -1]
