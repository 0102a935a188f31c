"""The format of taskmaster's own log lines."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Consumer, InvalidConfig, Publisher, Supervisor, SupervisorOptions
from tests.support import Gates, Journal, eventually
from tests.support.project import project

JSON_LOGGING = 'middleware = [{ use = "logging", format = "json" }]'


@pytest.mark.parametrize(
    ("top", "options"),
    [(JSON_LOGGING, {"http": '"127.0.0.1:0"'}), ("", {"log_format": '"json"'})],
    ids=["middleware", "log_format"],
)
def test_each_line_of_a_json_log_can_be_read(
    tmp_path: Path,
    database_url: str,
    publisher: Publisher,
    journal: Journal,
    gates: Gates,
    top: str,
    options: dict[str, Any],
) -> None:
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.configure({}, top=top, **options)
        here.start()
        held = publisher.put("q", {"do": "hold"})
        eventually(lambda: len(journal.runs_of(held)) == 1)
        os.kill(here.workers()[0], signal.SIGKILL)
        eventually(lambda: len(journal.runs_of(held)) == 2)
        gates.open()
        here.reload()
        assert here.stop() == 0
        lines = [json.loads(line) for line in here.output().splitlines()]
    own = [line for line in lines if "message" in line]
    assert {line["level"] for line in own} >= {"info"}
    assert any("worker exited" in line["message"] for line in own)


def test_format_of_another_name_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="log_format must be 'text' or 'json', got 'xml'"):
        SupervisorOptions(log_format="xml")  # type: ignore[arg-type]


def test_log_format_follows_the_middleware_unless_it_is_set() -> None:
    consumer = Consumer("q", callback="jobs:act", middleware=[{"use": "logging", "format": "json"}])
    options = SupervisorOptions(log_format="text")
    assert Supervisor("postgresql://", [consumer]).log_format == "json"
    assert Supervisor("postgresql://", [consumer], options=options).log_format == "text"
