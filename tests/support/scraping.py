"""Ask a supervisor's exporter for its metrics, as Prometheus does."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually

LISTENING = "0A"  # the state of a listening socket in /proc/net/tcp
RESPONSE_SECONDS = 10.0


class Response(NamedTuple):
    status: int
    content_type: str
    text: str


class Exporter:
    """The exporter of a supervisor that was told `http="127.0.0.1:0"`."""

    def __init__(self, supervisor_pid: int) -> None:
        self.port = port_of(supervisor_pid)

    def get(self, path: str, accept: str = "") -> Response:
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urlopen(request, timeout=RESPONSE_SECONDS) as reply:
                return Response(reply.status, reply.headers["Content-Type"], reply.read().decode())
        except HTTPError as error:
            return Response(error.code, error.headers["Content-Type"], error.read().decode())

    def sum(self, sample: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        found = [one for family in families for one in family.samples if one.name == sample]
        return sum(one.value for one in found if labels.items() <= one.labels.items())


def port_of(pid: int, *, within: float = 10.0) -> int:
    """Wait until a process listens, and return its port."""
    port = eventually(lambda: listening_port(pid), within=within)
    assert port is not None
    return port


def listening_port(pid: int) -> int | None:
    """Return the TCP port on which a process listens. None if there is none."""
    inodes = set(_sockets(pid))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENING and fields[9] in inodes:
            return int(fields[1].partition(":")[2], 16)
    return None


def _sockets(pid: int) -> Iterator[str]:
    for name in open_descriptors(pid).values():
        if name.startswith("socket:["):
            yield name[len("socket:[") : -1]
