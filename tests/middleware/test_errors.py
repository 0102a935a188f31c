"""Exceptions as outcomes, by class."""

from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.errors import InvalidConfig
from taskmaster.job import ACK, Job, Outcome, Reject, Retry
from taskmaster.plugins import middleware_factory
from taskmaster.testing import make_job
from taskmaster_middleware.errors import errors


def raising(error: BaseException) -> Callable[[Job], Outcome]:
    def handler(job: Job) -> Outcome:
        raise error

    return handler


def outcome_of(error: BaseException, **options: Any) -> Outcome:
    """Return the outcome of a run that raises `error`."""
    return errors(**options)(raising(error))(make_job())


def test_rejected_exception_gives_type_and_message_as_reason() -> None:
    outcome = outcome_of(ValueError("no such colour"), reject=[ValueError])

    assert outcome == Reject("ValueError: no such colour")


def test_retried_exception_may_have_a_delay() -> None:
    error = OSError("no route")

    assert outcome_of(error, retry=[OSError]) == Retry(None, "OSError: no route")
    assert outcome_of(error, retry=["builtins:OSError"], retry_delay_seconds=9) == Retry(
        9, "OSError: no route"
    )


def test_subclass_of_a_named_exception_matches() -> None:
    assert outcome_of(ConnectionResetError("gone"), retry=["builtins:OSError"]) == Retry(
        None, "ConnectionResetError: gone"
    )
    error = UnicodeDecodeError("utf-8", b"", 0, 1, "bad")
    assert isinstance(outcome_of(error, reject=[ValueError]), Reject)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"retry": [UnicodeError], "reject": [ValueError]}, Retry),
        ({"retry": [ValueError], "reject": [UnicodeError]}, Reject),
        ({"retry": [Exception], "reject": [ValueError]}, Reject),
        ({"retry": [UnicodeError], "reject": [UnicodeError]}, Retry),
        ({"retry": [ValueError]}, Retry),
    ],
)
def test_nearest_class_decides(options: dict[str, Any], expected: type) -> None:
    error = ValueError("x") if options == {"retry": [ValueError]} else UnicodeError("x")

    assert isinstance(outcome_of(error, **options), expected)


@pytest.mark.parametrize(
    "error", [KeyError("path"), ValueError("x"), SystemExit(1), KeyboardInterrupt()]
)
def test_exception_that_is_not_named_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        outcome_of(error, retry=[OSError])

    assert raised.value is error


def test_outcome_is_left_alone() -> None:
    assert errors(reject=[ValueError])(lambda job: ACK)(make_job()) is ACK


def test_empty_list_rejects_nothing() -> None:
    with pytest.raises(ValueError, match="x"):
        outcome_of(ValueError("x"), reject=[])


@pytest.mark.parametrize("options", [{}, {"retry_delay_seconds": 9}])
def test_neither_retry_nor_reject_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as refused:
        errors(**options)

    assert str(refused.value) == (
        "middleware 'errors' needs a list of exception classes in retry, in reject, or in both"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"retry": "builtins:OSError"},
            "retry must be a list of exception classes, got 'builtins:OSError'",
        ),
        ({"retry": OSError}, "retry must be a list of exception classes, got <class 'OSError'>"),
        ({"reject": [3]}, "reject must name exception classes, got 3"),
        ({"reject": ["builtins:len"]}, "reject must name exception classes, got 'builtins:len'"),
        (
            {"reject": ["builtins:SystemExit"]},
            "reject must name exception classes, got 'builtins:SystemExit'",
        ),
        ({"retry": ["OSError"]}, 'retry: must be "module:name", like'),
        (
            {"retry": ["builtins:OsError"]},
            "retry: module 'builtins' has no 'OsError' (did you mean 'OSError'?)",
        ),
    ],
)
def test_option_that_names_no_exception_class_is_refused(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        errors(**options)

    assert str(refused.value).startswith(f"middleware 'errors': {sentence}")


def test_middleware_is_configured_by_name_and_options() -> None:
    spec = {"use": "taskmaster_middleware.errors:errors", "retry": ["builtins:OSError"]}

    middleware: Any = middleware_factory(spec, where="middleware")()

    assert middleware(raising(OSError("no route")))(make_job()) == Retry(None, "OSError: no route")
