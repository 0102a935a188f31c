"""Payloads that survive encoding, and one sentence for each that does not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.errors import InvalidJob, InvalidPayload
from taskmaster.validation import check_delay, check_priority, check_queue_name, encode


@dataclass
class Size:
    width: int
    height: int


class Colour(Enum):
    RED = "red"


def returned(payload: Any) -> Any:
    """Return the payload as its callback will see it."""
    return orjson.loads(encode(payload))


# Postgres stores no NUL; UTF-8 has no surrogates; orjson's integers have 64 bits.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
payloads = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(payloads)
def test_any_json_survives_encoding(payload: Any) -> None:
    assert returned(payload) == payload


@given(st.text(st.sampled_from('\\u0"a\0'), max_size=30))
def test_nul_is_refused_and_text_that_resembles_one_is_not(text: str) -> None:
    if "\0" in text:
        with pytest.raises(InvalidPayload, match=r"^the payload holds a NUL character"):
            encode([text])
    else:
        assert returned([text]) == [text]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        [],
        "",
        0,
        False,
        "Größe 📬 \u2028",
        {"a": [{"b": [None, 1.5, "ü"]}]},
        {"": {"": ""}},
    ],
)
def test_small_and_empty_payloads_survive_encoding(payload: Any) -> None:
    assert returned(payload) == payload


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)])
def test_big_integers_keep_every_digit(number: int) -> None:
    assert returned(number) == number


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**100])
def test_integer_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(
        InvalidPayload, match=r"^the payload is not JSON: Integer exceeds 64-bit range"
    ):
        encode({"number": number})


@pytest.mark.parametrize("number", [0.1, -0.0, 1e308, 5e-324, 1.0])
def test_floats_keep_every_bit(number: float) -> None:
    assert math.copysign(1, returned(number)) == math.copysign(1, number)
    assert returned(number) == number
    assert isinstance(returned(number), float)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_number_that_json_does_not_have_is_null(number: float) -> None:
    assert returned([number]) == [None]


@pytest.mark.parametrize(
    ("payload", "seen"),
    [
        (datetime(2020, 2, 29, 12, 30, tzinfo=UTC), "2020-02-29T12:30:00+00:00"),
        (date(2020, 2, 29), "2020-02-29"),
        (Size(3, 4), {"width": 3, "height": 4}),
        ([Size(3, 4)], [{"width": 3, "height": 4}]),
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_dates_and_dataclasses_are_encoded_by_orjson(payload: Any, seen: Any) -> None:
    assert returned(payload) == seen


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (object(), "Type is not JSON serializable: object"),
        ({1, 2}, "Type is not JSON serializable: set"),
        (b"bytes", "Type is not JSON serializable: bytes"),
        (1j, "Type is not JSON serializable: complex"),
        ({1: "a"}, "Dict key must be str"),
        ("\ud800", "str is not valid UTF-8: surrogates not allowed"),
        (nested(2000), "Recursion limit reached"),
    ],
)
def test_payload_that_is_not_json_is_refused_in_one_sentence(payload: Any, reason: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode(payload)

    assert str(refused.value) == f"the payload is not JSON: {reason}"


def test_payload_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(InvalidPayload, match="Recursion limit reached"):
        encode(loop)


@pytest.mark.parametrize("payload", ["a\0b", {"key\0": 1}, [["\0"]], "\\\0", '"\0'])
def test_nul_anywhere_is_refused(payload: Any) -> None:
    with pytest.raises(
        InvalidPayload, match=r"^the payload holds a NUL character \(\\u0000\), which Postgres"
    ):
        encode(payload)


@pytest.mark.parametrize("payload", ["\\u0000", "\\\\u0000", {"\\u0000": "C:\\u0000"}])
def test_backslash_before_the_word_u0000_is_no_nul(payload: Any) -> None:
    assert returned(payload) == payload


def test_payload_is_measured_in_bytes_of_json() -> None:
    assert len(encode("x" * 999_998)) == 1_000_000
    with pytest.raises(InvalidPayload) as refused:
        encode("ü" * 500_000)

    assert str(refused.value) == (
        "the payload has 1,000,002 bytes, 1,000,000 are allowed: put a reference instead"
    )


def test_largest_size_can_be_configured() -> None:
    assert encode("x" * 8, max_bytes=10) == b'"xxxxxxxx"'
    with pytest.raises(InvalidPayload, match=r"^the headers has 11 bytes, 10 are allowed"):
        encode("x" * 9, what="headers", max_bytes=10)


def test_many_backslashes_are_searched_quickly() -> None:
    assert encode("\\" * 400_000 + "\\u0000")


# -- names, priorities, delays


@pytest.mark.parametrize(
    "queue_name", ["mail", "x" * 200, "📬" * 200, "a'b\"c.d;e", " mail ", "\n-"]
)
def test_any_text_can_name_a_queue(queue_name: str) -> None:
    assert check_queue_name(queue_name) == queue_name


@pytest.mark.parametrize(
    ("queue_name", "reason"),
    [
        ("", "must not be empty"),
        (" \t\n", "must not be empty"),
        ("x" * 201, "may have 200 characters at most, got 201: 'xxxxxxxxxxxxxxxxxxxx'…"),
        ("a\0b", "holds a character that Postgres cannot store"),
        ("\udcff", "holds a character that Postgres cannot store"),
        (None, "must be a string, got NoneType"),
        (7, "must be a string, got int"),
    ],
)
def test_invalid_queue_name_is_refused(queue_name: object, reason: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        check_queue_name(queue_name)

    assert str(refused.value).endswith(reason)


@pytest.mark.parametrize("priority", range(10))
def test_priorities_from_0_to_9_are_accepted(priority: int) -> None:
    assert check_priority(priority) == priority


@pytest.mark.parametrize("delay", [0, 0.5, 30, 10 * 366 * 86_400])
def test_delay_of_ten_years_is_accepted(delay: float) -> None:
    assert check_delay(delay) == delay


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((check_priority, value) for value in (-1, 10, True, 1.0, "1", None)),
        *((check_delay, value) for value in (-0.1, math.nan, math.inf, 1e12, True, "1", None)),
    ],
)
def test_priority_or_delay_out_of_range_is_refused(
    check: Callable[[object], float], value: object
) -> None:
    with pytest.raises(InvalidJob, match=r"^a (priority|delay) must be "):
        check(value)
