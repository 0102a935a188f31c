"""The line that each run leaves in the log."""

import json
import logging as stdlib
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taskmaster_middleware
from taskmaster.chain import build
from taskmaster.errors import InvalidConfig
from taskmaster.job import ACK, Job, Outcome, Reject, Retry, Snooze
from taskmaster.middleware import Middleware
from taskmaster.testing import make_job
from taskmaster_middleware.logging import logging


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(stdlib.INFO, "taskmaster.jobs")


def line(
    caplog: pytest.LogCaptureFixture, middleware: Middleware, outcome: Outcome = ACK, **job: Any
) -> str:
    """The one line that one run leaves."""
    caplog.clear()
    assert build([middleware], lambda _: outcome)(make_job(**job)) is outcome
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("taskmaster.jobs", stdlib.INFO)
    return record.getMessage()


def fields(
    caplog: pytest.LogCaptureFixture, outcome: Outcome = ACK, *, job: Any = None, **options: Any
) -> Any:
    return json.loads(line(caplog, logging(format="json", **options), outcome, **(job or {})))


def test_a_run_is_one_line_of_pairs(caplog: pytest.LogCaptureFixture) -> None:
    written = line(caplog, logging(), queue_name="mail", id=7, run_count=2)

    assert re.fullmatch(r"event=run job=7 queue=mail run=2 ms=[0-9.e-]+ outcome=ack", written)


def test_a_run_is_one_object_in_json(caplog: pytest.LogCaptureFixture) -> None:
    seen = fields(caplog, job={"queue_name": "mail", "id": 7})

    assert seen.pop("ms") >= 0
    assert datetime.fromisoformat(seen.pop("at")).tzinfo is not None
    assert seen == {"event": "run", "job": 7, "queue": "mail", "run": 1, "outcome": "ack"}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Reject("no such file"), {"outcome": "reject", "reason": "no such file"}),
        (Retry(2.5, "busy"), {"outcome": "retry", "delay_seconds": 2.5, "reason": "busy"}),
        (Retry(reason="busy"), {"outcome": "retry", "reason": "busy"}),
        (Snooze(60), {"outcome": "snooze", "delay_seconds": 60}),
    ],
)
def test_what_was_not_an_ack_says_why_and_when(
    caplog: pytest.LogCaptureFixture, outcome: Outcome, expected: dict[str, Any]
) -> None:
    seen = fields(caplog, outcome)

    assert {
        key: seen[key] for key in seen if key not in ("at", "event", "job", "queue", "run", "ms")
    } == expected


@pytest.mark.parametrize("error", [ValueError("no such file"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_is_logged_with_its_message_and_passes_through(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def failing(job: Job) -> Outcome:
        raise error

    with pytest.raises(type(error)) as raised:
        build([logging()], failing)(make_job())

    assert raised.value is error
    assert f"outcome=error error={type(error).__name__} reason=" in caplog.records[0].getMessage()


def test_below_info_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(stdlib.WARNING, "taskmaster.jobs")

    build([logging(payload=True)], lambda job: ACK)(make_job())

    assert caplog.records == []


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("plain", "reason=plain"),
        ("", 'reason=""'),
        ("two words", 'reason="two words"'),
        ("a=b", 'reason="a=b"'),
        ('say "no"', r'reason="say \"no\""'),
        ("line\nbreak outcome=ack", r'reason="line\nbreak outcome=ack"'),
        ("100 %s", 'reason="100 %s"'),
        ("Größe", "reason=Größe"),
        ("a\u2028b", r'reason="a\u2028b"'),
        ("\x1b[31mred", r'reason="\u001b[31mred"'),
        ("\ud800", r'reason="\ud800"'),
    ],
)
def test_a_value_cannot_break_out_of_its_line(
    caplog: pytest.LogCaptureFixture, reason: str, written: str
) -> None:
    assert line(caplog, logging(), Reject(reason)).endswith(written)


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_text_makes_a_second_line(
    caplog: pytest.LogCaptureFixture, reason: str, key: str
) -> None:
    caplog.clear()
    job = Job(1, f"mail {key}", {key: reason}, None, 0, 1, make_job().created_at)
    for format in ("text", "json"):
        build([logging(format=format, payload=True)], lambda _: Reject(reason))(job)

    assert [len(record.getMessage().splitlines()) for record in caplog.records] == [1, 1]
    assert json.loads(caplog.records[1].getMessage())["payload"] == {key: reason}


# -- payloads


def test_a_payload_is_not_shown_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    assert "secret" not in line(caplog, logging(), payload={"password": "secret"})


def test_named_keys_are_redacted_at_any_depth(caplog: pytest.LogCaptureFixture) -> None:
    payload = {
        "user": "me",
        "Password": "secret",
        "inner": [{"token": {"value": "secret"}, "size": 3}],
    }

    seen = fields(caplog, job={"payload": payload}, payload=True, redact=["password", "token"])

    assert seen["payload"] == {
        "user": "me",
        "Password": "[redacted]",
        "inner": [{"token": "[redacted]", "size": 3}],
    }


def test_redacting_leaves_the_job_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    job = make_job({"password": "secret"})

    build([logging(payload=True, redact=["password"])], lambda job: ACK)(job)

    assert job.payload == {"password": "secret"}


def test_a_payload_in_text_is_one_quoted_value(caplog: pytest.LogCaptureFixture) -> None:
    assert line(caplog, logging(payload=True), payload={"a": 1}).endswith(r'payload="{\"a\": 1}"')
    assert line(caplog, logging(payload=True), payload=None).endswith("payload=null")


def test_a_huge_payload_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        fields(caplog, job={"payload": "x" * 500_000}, payload=True)["payload"]
        == "[500002 characters]"
    )


def test_a_deep_payload_does_not_fail_the_job(caplog: pytest.LogCaptureFixture) -> None:
    deep: Any = "secret"
    for _ in range(1_000):  # deeper than Python recurses, as another language may put it
        deep = [deep]
    job = Job(1, "mail", deep, None, 0, 1, make_job().created_at)

    assert build([logging(payload=True)], lambda job: ACK)(job) is ACK
    assert "[deeper]" in caplog.text


def test_a_long_reason_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert len(line(caplog, logging(), Reject("x" * 100_000))) < 1_200


# -- options, and a module called logging


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "xml"}, "format must be 'text' or 'json', got 'xml'"),
        ({"redact": "password"}, "redact must be a list of keys, got 'password'"),
        ({"redact": [3]}, "redact must be a list of keys, got [3]"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        logging(**options)

    assert str(refused.value) == f"middleware 'logging': {sentence}"


def test_importing_taskmaster_brings_in_no_middleware() -> None:
    code = (
        "import sys, taskmaster.testing, taskmaster.config, taskmaster.imports; "
        "sys.exit(any(name.startswith('taskmaster_middleware') for name in sys.modules))"
    )
    root = Path(taskmaster_middleware.__file__ or "").parent.parent.parent

    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=30).returncode == 0
