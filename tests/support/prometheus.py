"""A real Prometheus: the one on the path, or Debian's package, downloaded into .venv once."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from filelock import FileLock

from tests.support.scraping import port_of
from tests.support.waiting import eventually

HERE = Path(sys.prefix) / "prometheus"
FETCH_SECONDS = 120.0
END_SECONDS = 10.0
SCRAPE_SECONDS = 0.2


def tool(name: str) -> str:
    """Return the path of `prometheus` or `promtool`. Fail with advice if it is not available."""
    if found := shutil.which(name):
        return found
    with FileLock(f"{HERE}.lock", timeout=FETCH_SECONDS):
        if not (HERE / "usr/bin" / name).exists():
            _fetch()
    return str(HERE / "usr/bin" / name)


def _fetch() -> None:
    """Download Debian's package and unpack it.

    Without an installation that needs no rights, unless the package lists are missing.
    """
    HERE.mkdir(exist_ok=True)
    try:
        if _run("apt-get", "download", "prometheus", check=False):
            _run("apt-get", "update")
            _run("apt-get", "download", "prometheus")
        _run("sh", "-c", "dpkg-deb --extract prometheus_*.deb .")
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        pytest.fail(
            "these tests need Prometheus on the path, or a Debian from which it can be fetched"
            f" (apt-get update; apt-get install prometheus): {error} {output.decode()[-300:]}",
            pytrace=False,
        )


def _run(*command: str, check: bool = True) -> int:
    return subprocess.run(
        command, cwd=HERE, check=check, capture_output=True, timeout=FETCH_SECONDS
    ).returncode


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples of an instant vector, each with `metric` and `value` (a number)."""
        with urlopen(f"{self._url}/api/v1/query?{urlencode({'query': expr})}", timeout=10) as reply:
            data = json.load(reply)["data"]
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": float(data["result"][1])}]
        return [
            {"metric": one["metric"], "value": float(one["value"][1])} for one in data["result"]
        ]

    def value(self, expr: str) -> float | None:
        """Return the value of the only sample. None if there is none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return found[0]["value"] if found else None

    def ready(self) -> bool:
        try:
            with urlopen(f"{self._url}/-/ready", timeout=10):
                return True
        except URLError:
            return False


@contextmanager
def prometheus(directory: Path, target_port: int) -> Iterator[Prometheus]:
    """Scrape a supervisor on this machine several times a second, until the end of the block."""
    config = {
        "global": {"scrape_interval": f"{int(SCRAPE_SECONDS * 1000)}ms", "scrape_timeout": "150ms"},
        "scrape_configs": [
            {
                "job_name": "taskmaster",
                "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}],
            }
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [tool("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--web.listen-address=127.0.0.1:0"], cwd=directory, stdout=log, stderr=log
        )
        try:
            one = Prometheus(port_of(process.pid, within=30))
            eventually(one.ready, within=30)
            yield one
        finally:
            process.terminate()
            process.wait(END_SECONDS)
