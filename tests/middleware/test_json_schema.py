"""Payloads with a shape: refused at put, rejected at run, every error named."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import orjson
import pydantic
import pytest

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.errors import InvalidConfig, InvalidPayload
from taskmaster.job import ACK, Outcome, Reject
from taskmaster.store.connection import Connection
from taskmaster.store.loaders import decode_json
from taskmaster.testing import make_job
from taskmaster_middleware.json_schema import json_schema
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT

MAIL = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "copies": {"type": "array", "items": {"minimum": 1}}},
    "required": ["to"],
}
WRONG = {"to": 7, "copies": [1, 0, -1]}
POINTERS = ["/to: ", "/copies/1: ", "/copies/2: "]


@dataclass
class Mail:
    to: str
    copies: int = 1


@dataclass
class MailOnly:
    """As callers have it: what is put is its JSON."""

    to: str


class Letter(msgspec.Struct):
    to: str


class Parcel(pydantic.BaseModel):
    to: str
    inner: Mail | None = None


def outcome_of(schema: Any, payload: Any) -> Outcome:
    """Return the outcome of a job with `payload`."""
    return json_schema(schema=schema)(lambda job: ACK)(make_job(payload))


def outcome_of_sql(schema: Any, payload: Any) -> Outcome:
    """Return the outcome of a job with a payload that only SQL can put."""
    job: Any = SimpleNamespace(payload=payload)
    return json_schema(schema=schema)(lambda job: ACK)(job)


def test_bad_payload_is_rejected_with_each_error_at_its_pointer() -> None:
    outcome = outcome_of(MAIL, WRONG)
    assert isinstance(outcome, Reject)
    assert outcome.reason.startswith("the payload does not match its schema: ")
    assert [pointer in outcome.reason for pointer in POINTERS] == [True, True, True]
    assert outcome_of(MAIL, {"to": "ada"}) == ACK
    assert "(the whole): " in str(outcome_of(MAIL, {}))


def test_key_with_slashes_is_escaped_in_its_pointer() -> None:
    assert "/a~1b~0c: " in str(
        outcome_of({"properties": {"a/b~c": {"type": "null"}}}, {"a/b~c": 1})
    )


def test_hundreds_of_errors_are_cut_off() -> None:
    reason = str(outcome_of({"items": {"type": "null"}}, [1] * 500))
    assert "; and 400 more" in reason
    assert len(reason) < 10_000


@pytest.mark.parametrize("schema", [{"type": "object"}, {"enum": [1]}, {"items": False}])
def test_payload_too_deep_to_be_checked_is_rejected(schema: Any) -> None:
    outcome = outcome_of_sql(schema, decode_json("[" * 900 + "]" * 900))
    assert isinstance(outcome, Reject)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**300])
def test_number_beyond_64_bits_is_checked_exactly(number: int) -> None:
    assert outcome_of_sql({"const": number}, number) == ACK
    assert isinstance(outcome_of_sql({"const": number}, number + 1), Reject)
    assert isinstance(outcome_of_sql({"type": "integer", "maximum": number - 1}, number), Reject)


@pytest.mark.parametrize(
    "schema", [Mail, Letter, Parcel, "tests.middleware.test_json_schema:Mail", f"{__name__}:MAIL"]
)
def test_type_or_its_name_is_a_schema(schema: Any) -> None:
    assert outcome_of(schema, {"to": "ada"}) == ACK
    assert "/to: " in str(outcome_of(schema, {"to": 1}))


def test_schema_file_may_refer_to_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail.json").write_text(
        json.dumps({"properties": {"to": {"$ref": "parts/name.json#/$defs/name"}}})
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "name.json").write_text(
        json.dumps({"$defs": {"name": {"type": "string"}}})
    )
    assert outcome_of("mail.json", {"to": "ada"}) == ACK
    assert "/to: " in str(outcome_of("mail.json", {"to": 1}))


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9/x.json", "https://example.com/x.json", "file://host/x.json"]
)
def test_schema_that_needs_the_network_is_refused(place: str) -> None:
    with pytest.raises(InvalidConfig, match="a \\$ref may lead to local files only"):
        json_schema(schema={"$ref": place})


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "nope"}, "schema inline is no valid schema"),
        ("missing.json", "missing.json' cannot be read: No such file or directory"),
        (7, "7 is neither a JSON Schema nor a type that has one"),
        ("json:nothing", "module 'json' has no 'nothing'"),
    ],
)
def test_invalid_schema_is_refused_before_any_job(schema: Any, sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        json_schema(schema=schema)


def test_schema_is_checked_at_put_and_at_run_without_retries(
    supervise: Supervise,
    database_url: str,
    publisher: Publisher,
    admin: Admin,
    conn: Connection,
    journal: Journal,
) -> None:
    consumer = Consumer("mail", callback=ACT, middleware=[{"use": "json_schema", "schema": MAIL}])
    with Publisher(database_url, consumers=[consumer]) as checking:
        with pytest.raises(
            InvalidPayload, match="queue 'mail': the payload does not match its schema: /to: "
        ):
            checking.put("mail", {"to": 1})
        with pytest.raises(InvalidPayload, match="payload 1: queue 'mail': "):
            checking.put_many("mail", [{"to": "ada"}, {"to": 1}])
        good = checking.put("mail", MailOnly("ada"))
        other = checking.put("else", {"to": 1})  # a queue without the rule
    bad = publisher.put("mail", WRONG)  # by a publisher that does not know the rule
    with supervise(consumer):
        eventually(lambda: admin.get(bad).state == State.REJECTED)
        eventually(lambda: journal.finished() == [good])
    (failure,) = admin.get(bad).failures
    assert (failure.cause, failure.run) == ("rejected", 1)
    assert [pointer in failure.message for pointer in POINTERS] == [True, True, True]
    assert admin.get(other).state == State.READY


def test_schema_file_that_disappears_stops_no_worker(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, tmp_path: Path
) -> None:
    file = tmp_path / "mail.json"
    file.write_text(json.dumps(MAIL))
    with supervise(
        Consumer("mail", callback=ACT, middleware=[{"use": "json_schema", "schema": str(file)}])
    ) as one:
        file.unlink()
        killed = one.worker()
        one.signal(killed, signal.SIGKILL)
        eventually(lambda: one.workers() not in ([], [killed]))
        good, bad = publisher.put_many("mail", [{"to": "ada"}, {"to": 1}])
        eventually(lambda: journal.finished() == [good])
        eventually(lambda: admin.get(bad).state == State.REJECTED)


@pytest.mark.parametrize("payload", [{"a": "hunter2" * 1000}, {"b": "hunter2"}, {"c": "hunter2"}])
def test_errors_contain_no_value_of_the_payload(payload: Any) -> None:
    schema = {
        "properties": {"a": {"type": "null"}, "b": {"enum": [1]}, "c": {"format": "date-time"}}
    }
    outcome = outcome_of(schema, payload)
    assert isinstance(outcome, Reject)
    assert "the value is not" in outcome.reason
    assert "hunter2" not in outcome.reason


class Meeting(pydantic.BaseModel):
    at: datetime
    id: UUID
    opens: time | None = None


@pydantic.dataclasses.dataclass
class Room:
    number: int = pydantic.Field(ge=1)


@pytest.mark.parametrize(
    "at", [datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)]
)
def test_times_pass_as_they_are_put_and_other_text_does_not(at: datetime) -> None:
    put = orjson.loads(orjson.dumps(Meeting(at=at, id=UUID(int=7), opens=time(9, 30)).__dict__))
    assert outcome_of(Meeting, put) == ACK
    for at_least in ("2026-01-01t00:00:00z", "2016-12-31T23:59:60Z"):
        assert outcome_of(Meeting, put | {"at": at_least}) == ACK
    for wrong in (
        {"at": "nonsense"},
        {"at": "2026-01-02"},
        {"at": "2026-01-02T10:60:00Z"},
        {"id": "nonsense"},
        {"opens": "noon"},
    ):
        assert isinstance(outcome_of(Meeting, put | wrong), Reject), wrong


def test_pydantic_dataclass_is_a_schema_with_its_constraints() -> None:
    assert outcome_of(Room, {"number": 1}) == ACK
    assert "/number: " in str(outcome_of(Room, {"number": 0}))


def test_two_types_of_one_name_have_a_schema_each() -> None:
    def made(kind: type) -> type:
        return dataclass(type("Same", (), {"__annotations__": {"a": kind}}))

    assert (outcome_of(made(int), {"a": 1}), outcome_of(made(str), {"a": "x"})) == (ACK, ACK)


class Unfinished(msgspec.Struct):
    """As one whose names are imported for type checkers only."""

    at: "NowhereToBeFound"  # type: ignore[name-defined]  # noqa: F821


class Odd(pydantic.BaseModel):
    """Its field has no JSON type."""

    call: Callable[[], None]


@pytest.mark.parametrize("schema", [Unfinished, Odd])
def test_type_without_a_schema_is_refused_in_one_sentence(schema: type) -> None:
    with pytest.raises(
        InvalidConfig, match=r"neither a JSON Schema nor a type that has one: ."
    ) as refused:
        json_schema(schema=schema)
    assert "\n" not in str(refused.value)
