"""The record of a failed run: its JSON, and what is read of records that others have written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster import State
from taskmaster.cli.inspect import failure_text
from taskmaster.failure import Failure, Progress, Used, make_failure, parse_failure, parse_failures
from taskmaster.settlement import Settlement, from_entry, to_entry

ALWAYS = {
    *("cause", "message", "run", "worker", "host", "at"),
    *("duration_seconds", "cpu_seconds", "peak_memory_mb"),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
entries = st.dictionaries(st.sampled_from(Failure.__struct_fields__) | st.text(), values)


def recorded(**used: Any) -> Failure:
    return make_failure(
        "rejected",
        "",
        run=1,
        worker="host:1:2",
        duration_seconds=0.5,
        used=Used(0.25, 30.0, **used),
    )


def document(record: Failure) -> dict[str, Any]:
    found = json.loads(msgspec.json.encode(record))
    assert isinstance(found, dict)
    return found


def test_record_holds_only_what_is_known() -> None:
    assert set(document(recorded())) == ALWAYS
    assert document(recorded())["message"] == ""
    assert document(recorded())["at"].endswith("+00:00")


def test_record_holds_output_and_progress_if_there_are_any() -> None:
    found = document(recorded(stdout="said", progress=Progress(0.5, "")))

    assert set(found) == ALWAYS | {"stdout", "progress", "progress_note"}
    assert (found["progress"], found["progress_note"]) == (0.5, "")


def test_record_survives_json_and_the_scoreboard() -> None:
    record = recorded(stdout="said", stderr="ä", progress=Progress(0.5, "half"))
    settlement = Settlement(7, State.REJECTED, charged=True, failure=record)

    assert parse_failure(document(record)) == record
    assert from_entry(json.loads(json.dumps(to_entry(settlement)))) == settlement
    assert settlement.failure_json is not None
    assert parse_failure(json.loads(settlement.failure_json)) == record


def test_record_of_a_lost_host_is_read() -> None:
    written = {
        "cause": "lost host",
        "run": 3,
        "worker": "host:1:2",
        "at": "2026-01-02T03:04:05+00:00",
        "message": "its supervisor was lost again while it ran",
    }

    assert document(parse_failure(written)) == written


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, Failure(cause="unknown", message="")),
        ({"run": "first", "message": "m"}, Failure(cause="unknown", message="m")),
        ({"cause": None, "run": 2}, Failure(cause="unknown", message="", run=2)),
        ({"cause": "c", "message": "m", "of": [1]}, Failure(cause="c", message="m")),
        ("it broke", Failure(cause="unknown", message="it broke")),
        (10**100, Failure(cause="unknown", message=str(10**100))),
    ],
)
def test_odd_record_is_read_as_far_as_it_goes(entry: object, expected: Failure) -> None:
    assert parse_failure(entry) == expected


@given(values | entries | st.lists(entries))
def test_no_record_fails_to_be_read_and_shown(value: object) -> None:
    for record in parse_failures(value):
        assert failure_text(record)


def test_history_that_is_missing_is_empty() -> None:
    assert parse_failures(None) == []
