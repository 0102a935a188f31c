"""Definitions of middlewares: called like their factory, and read when a chain is built."""

import inspect
import pydoc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import taskmaster
from taskmaster.consumer import Consumer
from taskmaster.errors import InvalidConfig
from taskmaster.failure import Failure
from taskmaster.job import Reject
from taskmaster.middleware import (
    CrashReport,
    CrashReporter,
    Draft,
    Middleware,
    MiddlewareDefinition,
    Put,
    PutMiddleware,
    define_middleware,
)
from taskmaster.plugins import (
    crash_reporters,
    middleware_factories,
    middleware_factory,
    open_middleware,
    put_middlewares,
)
from taskmaster.processes.ipc.spawn import hand_over, take
from taskmaster.testing import make_job, run
from taskmaster_middleware.json_schema import json_schema
from taskmaster_middleware.metrics import metrics
from taskmaster_middleware.sentry import sentry
from taskmaster_middleware.tracing import tracing
from tests.unit.test_imports import Write, installed, refused_middleware, write

__all__ = ["installed", "write"]  # fixtures

prepared: list[str] = []
reported: list[tuple[str, int]] = []


def mark_put(*, label: str = "none") -> PutMiddleware:
    def middleware(put: Put) -> Put:
        return lambda draft: put(draft._replace(headers={"label": label}))

    return middleware


def report_crashes(*, label: str = "none") -> CrashReporter:
    return lambda crash: reported.append((label, crash.job))


def note_prepared(*, label: str = "none") -> None:
    prepared.append(label)


@define_middleware(put=mark_put, report_crashes=report_crashes, prepare=note_prepared, once=True)
def labelled(*, label: str = "none") -> Middleware:
    """Reject each job with a label."""
    return lambda handler: lambda job: Reject(label)


def plain(*, label: str) -> Middleware:
    return lambda handler: handler


def travelled(value: Any) -> Any:
    """Return what another process would receive."""
    return take(hand_over(value))


def test_definition_is_called_like_its_factory() -> None:
    assert labelled(label="a")(lambda job: Reject("no"))(make_job()) == Reject("a")


def test_definition_shows_the_docs_of_its_factory() -> None:
    assert str(inspect.signature(labelled)).startswith("(*, label: str = 'none')")
    assert labelled.__doc__ == "Reject each job with a label."
    shown = pydoc.plain(pydoc.render_doc(labelled))
    assert "labelled(*, label: str = 'none')" in shown
    assert "Reject each job with a label." in shown


@pytest.mark.parametrize("name", ["run", "put", "report_crashes", "prepare"])
def test_definition_of_what_is_no_function_is_refused(name: str) -> None:
    functions: dict[str, Any] = {"run": plain, name: "images:timed"}
    with pytest.raises(
        InvalidConfig, match=f"^a middleware's {name} must be a function, got 'images:timed'$"
    ):
        MiddlewareDefinition(**functions)


def test_definition_runs_around_a_callback() -> None:
    middleware: list[Any] = [labelled]
    assert run_with(middleware) == Reject("none")
    assert run_with([{"use": labelled, "label": "b"}]) == Reject("b")


def run_with(middleware: list[Any]) -> object:
    return run(Consumer("q", callback=lambda job: None, middleware=middleware))


def test_definition_prepares_with_its_options_before_the_fork() -> None:
    prepared.clear()
    factory = middleware_factory({"use": labelled, "label": "c"}, where="middleware")
    assert prepared == ["c"]
    with ExitStack() as stack:
        open_middleware(factory, stack)
    assert prepared == ["c"]


def test_definition_wraps_puts_with_its_options() -> None:
    (middleware,) = put_middlewares([{"use": labelled, "label": "d"}], where="middleware")
    drafts: list[Draft] = []
    middleware(drafts.append)(Draft("q", {}, None))
    assert drafts == [Draft("q", {}, {"label": "d"})]


def test_definition_reports_crashes_with_its_options() -> None:
    reported.clear()
    (make,) = crash_reporters([{"use": labelled, "label": "e"}], where="middleware")
    reporter: Any = make()
    failure = Failure(cause="signal SIGKILL", message="")
    reporter(CrashReport(job=7, queue_name="q", rejected=False, failure=failure))
    assert reported == [("e", 7)]


def test_plain_functions_wrap_no_puts_and_report_no_crashes() -> None:
    specs: list[Any] = [{"use": plain, "label": "f"}, lambda handler: handler]
    assert put_middlewares(specs, where="middleware") == []
    assert crash_reporters(specs, where="middleware") == []


def test_required_queue_name_is_no_option_of_put_and_report() -> None:
    def by_queue(*, queue_name: str) -> Middleware:
        return lambda handler: handler

    named = MiddlewareDefinition(run=by_queue, put=mark_put, report_crashes=report_crashes)
    assert len(put_middlewares([named], where="middleware")) == 1
    assert len(crash_reporters([named], where="middleware")) == 1
    assert len(middleware_factories([named], where="middleware", queue_name="q")) == 1


@pytest.mark.parametrize("read", [put_middlewares, crash_reporters, middleware_factories])
def test_wrong_option_of_a_definition_is_refused(
    read: Callable[..., list[object]],
) -> None:
    with pytest.raises(InvalidConfig, match=r"^middleware 'labelled': unknown option 'lable'"):
        read([{"use": labelled, "lable": "g"}], where="middleware")


def test_definition_with_a_missing_option_is_refused() -> None:
    definition = MiddlewareDefinition(run=plain)
    assert refused_middleware(definition) == "middleware 'plain': option 'label' is missing"


def test_definition_that_may_run_once_is_refused_twice() -> None:
    with pytest.raises(InvalidConfig, match="'labelled' is named twice"):
        middleware_factories([labelled, {"use": labelled, "label": "h"}], where="middleware")


@pytest.mark.usefixtures("installed")
def test_entry_point_may_name_a_definition(write: Write) -> None:
    write(
        "ref_tracing.py",
        "from taskmaster.middleware import define_middleware\n"
        "@define_middleware(put=lambda rate: 'around puts')\n"
        "def tracing(*, rate=1.0):\n    return lambda handler: handler\n",
    )
    found: list[Any] = put_middlewares([{"use": "ref_tracing", "rate": 0.5}], where="middleware")
    assert found == ["around puts"]


def test_definition_travels_to_other_processes_by_its_name() -> None:
    assert travelled(labelled) is labelled


@pytest.mark.parametrize("module", ["__main__", __name__])
def test_definition_without_a_name_travels_by_value(module: str) -> None:
    def inner(*, label: str) -> Middleware:
        return lambda handler: lambda job: Reject(label)

    inner.__module__ = module
    there = travelled(MiddlewareDefinition(run=inner, put=mark_put, once=True))

    assert (there.put, there.once) == (mark_put, True)
    assert there(label="i")(lambda job: None)(make_job()) == Reject("i")


@pytest.mark.parametrize("definition", [json_schema, metrics, sentry, tracing])
def test_shipped_definition_travels_by_its_name(definition: object) -> None:
    assert isinstance(definition, MiddlewareDefinition)
    assert travelled(definition) is definition


def test_no_module_of_taskmaster_imports_a_shipped_middleware() -> None:
    files = Path(taskmaster.__file__).parent.rglob("*.py")
    importing = ("import taskmaster_middleware", "from taskmaster_middleware")
    assert [file for file in files if any(words in file.read_text() for words in importing)] == []
