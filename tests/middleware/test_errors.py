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


def answer(error: BaseException, **options: Any) -> Outcome:
    return errors(**options)(raising(error))(make_job())


def test_what_never_gets_better_is_rejected_with_type_and_message() -> None:
    assert answer(ValueError("no such colour")) == Reject("ValueError: no such colour")


def test_what_may_get_better_is_retried() -> None:
    assert answer(OSError("no route"), retry=[OSError]) == Retry(None, "OSError: no route")
    assert answer(OSError("no route"), retry=["builtins:OSError"], retry_delay_seconds=9) == Retry(
        9, "OSError: no route"
    )


def test_subclasses_count() -> None:
    assert answer(ConnectionResetError("gone"), retry=["builtins:OSError"]) == Retry(
        None, "ConnectionResetError: gone"
    )
    assert isinstance(answer(UnicodeDecodeError("utf-8", b"", 0, 1, "bad")), Reject)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"retry": [UnicodeError], "reject": [ValueError]}, Retry),
        ({"retry": [ValueError], "reject": [UnicodeError]}, Reject),
        ({"retry": [Exception], "reject": [ValueError]}, Reject),
        ({"retry": [ValueError]}, Retry),  # although ValueError is rejected by default
    ],
)
def test_the_nearest_class_decides(options: dict[str, Any], expected: type) -> None:
    error = ValueError("x") if options == {"retry": [ValueError]} else UnicodeError("x")

    assert isinstance(answer(error, **options), expected)


@pytest.mark.parametrize("error", [KeyError("path"), SystemExit(1), KeyboardInterrupt()])
def test_anything_else_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        answer(error, retry=[OSError])

    assert raised.value is error


def test_an_outcome_is_left_alone() -> None:
    assert errors()(lambda job: ACK)(make_job()) is ACK


def test_an_empty_list_rejects_nothing() -> None:
    with pytest.raises(ValueError, match="x"):
        answer(ValueError("x"), reject=[])


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
def test_what_is_no_exception_class_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        errors(**options)

    assert str(refused.value).startswith(f"middleware 'errors': {sentence}")


def test_it_is_configured_by_name_and_options() -> None:
    spec = {"use": "taskmaster_middleware.errors:errors", "retry": ["builtins:OSError"]}

    middleware: Any = middleware_factory(spec, where="middleware")()

    assert middleware(raising(OSError("no route")))(make_job()) == Retry(None, "OSError: no route")
