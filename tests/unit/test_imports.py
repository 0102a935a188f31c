"""Names in a configuration: the objects they name, and one sentence if there is none."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskmaster.errors import InvalidConfig
from taskmaster.imports import resolve, resolve_callable
from taskmaster.job import ACK, Job, Outcome, Reject
from taskmaster.middleware import Handler, Middleware
from taskmaster.plugins import middleware_factories, middleware_factory, open_middleware
from taskmaster.testing import make_job

WHERE = "taskmaster.toml: consumer 'mail': callback"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into the current directory, which is on the path, and forget them later."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def writing(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    yield writing
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(reference: str) -> str:
    with pytest.raises(InvalidConfig) as refused:
        resolve(reference, where=WHERE)
    sentence = str(refused.value)
    assert sentence.startswith(f"{WHERE}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{WHERE}: ")


def refused_middleware(spec: Any) -> str:
    with pytest.raises(InvalidConfig) as refused:
        middleware_factory(spec, where="middleware")
    return str(refused.value)


def test_middleware_that_counts_runs_is_refused_twice() -> None:
    specs: list[Any] = ["logging", "metrics", {"use": "metrics", "wait_buckets": [1.0]}]
    with pytest.raises(InvalidConfig) as refused:
        middleware_factories(specs, where="middleware")
    assert (
        str(refused.value)
        == "middleware: 'metrics' is named twice and may be in a chain once: name it once"
    )
    assert len(middleware_factories(["logging", "logging", "metrics"], where="middleware")) == 3


# -- "module:name"


def test_reference_resolves_to_its_object(write: Write) -> None:
    write("shop/mails.py", "class Mails:\n    @staticmethod\n    def send(job): return 'sent'\n")

    assert resolve("shop.mails:Mails.send", where=WHERE)(None) == "sent"


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "mails",
        "mails:",
        ":send",
        "mails:send:now",
        ".mails:send",
        "mails:send()",
        "a b:c",
        "mails:.send",
    ],
)
def test_malformed_reference_is_refused_with_the_form(reference: str) -> None:
    assert (
        refusal(reference) == f'must be "module:name", like "images:thumbnail", got {reference!r}'
    )


def test_missing_module_is_told_from_a_missing_import_of_it(write: Write, tmp_path: Path) -> None:
    write("ref_importing.py", "\nimport ref_absent_library\n")

    searched = f"searched were {tmp_path.name}/ and the installed packages"
    assert refusal("ref_absent:send") == f"there is no module 'ref_absent'; {searched}"
    assert refusal("ref_absent.mails:send") == f"there is no module 'ref_absent'; {searched}"
    assert refusal("ref_importing:send") == (
        "module 'ref_importing' imports 'ref_absent_library', which cannot be found "
        "(ref_importing.py:2)"
    )


def test_missing_submodule_is_named_in_full(write: Write) -> None:
    write("ref_package/__init__.py", "")

    assert refusal("ref_package.mails:send").startswith(
        "there is no module 'ref_package.mails'; searched"
    )


def test_missing_module_with_a_longer_name_is_an_import_of_it(write: Write) -> None:
    write("ref_mail.py", "import ref_mail_client\n")

    assert refusal("ref_mail:send").startswith(
        "module 'ref_mail' imports 'ref_mail_client', which cannot be found"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero (ref_raising.py:1)"),
        ("\nraise RuntimeError('two\\nlines')\n", "RuntimeError: two lines (ref_raising.py:2)"),
        ("raise RuntimeError\n", "RuntimeError (ref_raising.py:1)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (ref_raising.py:2)"),
        ("def send(job)\n", "SyntaxError: expected ':' (ref_raising.py:1)"),
        ("from os import nothing\n", "ImportError: cannot import name 'nothing' from 'os'"),
        (
            "raise ModuleNotFoundError('bring your own')\n",
            "ModuleNotFoundError: bring your own (ref_raising.py:1)",
        ),
    ],
)
def test_exception_at_import_is_shown_with_its_place(
    write: Write, text: str, sentence: str
) -> None:
    write("ref_raising.py", text)

    assert refusal("ref_raising:send").startswith(f"importing 'ref_raising' raised {sentence}")


def test_error_far_below_the_import_is_shown_at_its_place(write: Write) -> None:
    write("ref_helper.py", "def connect():\n    raise OSError('no route')\n")
    write("ref_outer.py", "import ref_helper\nref_helper.connect()\n")

    assert (
        refusal("ref_outer:send")
        == "importing 'ref_outer' raised OSError: no route (ref_helper.py:2)"
    )


def test_endless_message_is_cut(write: Write) -> None:
    write("ref_long.py", "raise RuntimeError('x' * 100_000)\n")

    assert len(refusal("ref_long:send")) < 400


def test_typo_in_a_name_is_refused_with_a_suggestion(write: Write) -> None:
    write("ref_mails.py", "def send(job): ...\n")

    assert refusal("ref_mails:sned") == "module 'ref_mails' has no 'sned' (did you mean 'send'?)"


def test_unknown_name_is_refused_with_a_list_of_functions(write: Write) -> None:
    write(
        "ref_mails.py",
        "import json\nfrom pathlib import Path\ndef send(job): ...\ndef sort(job): ...\n",
    )

    assert (
        refusal("ref_mails:thumbnail")
        == "module 'ref_mails' has no 'thumbnail'; there is 'send', 'sort'"
    )


def test_exception_of_a_modules_getattr_is_shown(write: Write) -> None:
    write("ref_lazy.py", "def __getattr__(name):\n    raise RuntimeError(f'{name} is not built')\n")

    assert refusal("ref_lazy:send") == (
        "reading 'send' of module 'ref_lazy' raised RuntimeError: send is not built (ref_lazy.py:2)"
    )


def test_callback_that_is_not_callable_is_refused(write: Write) -> None:
    write("ref_constant.py", "SIZE = 3\n")

    with pytest.raises(
        InvalidConfig, match=r'must be a function or "module:name", \'ref_constant:SIZE\' is 3$'
    ):
        resolve_callable("ref_constant:SIZE", where=WHERE)
    with pytest.raises(InvalidConfig, match=r'must be a function or "module:name", got 3$'):
        resolve_callable(3, where=WHERE)


def test_async_callback_is_refused() -> None:
    async def send(job: Job) -> None: ...

    with pytest.raises(InvalidConfig, match="is an async function; a worker calls plain ones"):
        resolve_callable(send, where=WHERE)


def test_function_is_returned_as_it_is() -> None:
    assert resolve_callable(len, where=WHERE) is len


# -- middlewares


def rejecting(handler: Handler) -> Handler:
    return lambda job: Reject(f"{handler(job)}")


def labelled(*, label: str = "none", level: int = 0) -> Middleware:
    return lambda handler: lambda job: Reject(f"{label} {level}")


def demanding(*, dsn: str) -> Middleware:
    return labelled(label=dsn)


def test_function_that_takes_the_handler_is_a_middleware() -> None:
    assert middleware_factory(rejecting, where="middleware")() is rejecting


def test_class_that_takes_the_handler_is_a_middleware() -> None:
    class Audit:
        def __init__(self, handler: Handler) -> None:
            self.handler = handler

        def __call__(self, job: Job) -> Outcome:
            return self.handler(job)

    assert middleware_factory(Audit, where="middleware")() is Audit


def test_factory_is_called_with_its_options() -> None:
    factory = middleware_factory({"use": labelled, "label": "a", "level": 2}, where="middleware")

    assert ran(factory) == Reject("a 2")


def test_factory_without_options_is_called_too() -> None:
    assert ran(middleware_factory(labelled, where="middleware")) == Reject("none 0")


def test_factory_is_not_called_before_the_fork() -> None:
    calls = []

    def counting() -> Middleware:
        calls.append(1)
        return rejecting

    factory = middleware_factory(counting, where="middleware")
    assert calls == []
    factory()
    assert calls == [1]


def test_middleware_is_found_by_module_and_name(write: Write) -> None:
    write("ref_audit.py", "def audit(handler):\n    return handler\n")

    assert ran(middleware_factory("ref_audit:audit", where="middleware")) is ACK
    assert ran(middleware_factory({"use": "ref_audit:audit"}, where="middleware")) is ACK


def test_typo_in_an_option_is_refused_with_those_accepted() -> None:
    assert refused_middleware({"use": labelled, "lable": "a"}) == (
        "middleware 'labelled': unknown option 'lable' (did you mean 'label'?); "
        "it accepts 'label', 'level'"
    )


def test_option_for_a_factory_without_any_is_refused() -> None:
    def plain() -> Middleware:
        return rejecting

    assert refused_middleware({"use": plain, "label": "a"}) == (
        "middleware 'plain': unknown option 'label'; it accepts none"
    )


def test_missing_option_is_refused_before_the_fork() -> None:
    assert refused_middleware(demanding) == "middleware 'demanding': option 'dsn' is missing"


def test_factory_that_takes_any_option_is_called_with_it() -> None:
    def anything(**options: Any) -> Middleware:
        return labelled(label=",".join(options))

    assert ran(middleware_factory({"use": anything, "x": 1, "y": 2}, where="middleware")) == Reject(
        "x,y 0"
    )


@pytest.mark.parametrize("spec", [3, None, {"use": 3}])
def test_object_that_is_no_middleware_is_refused(spec: object) -> None:
    assert refused_middleware(spec).startswith(
        'middleware: must be a function or "module:name", got'
    )


def test_table_without_use_is_refused() -> None:
    assert refused_middleware({"format": "json"}) == (
        "middleware: a middleware's table must hold 'use', it holds 'format'"
    )


@pytest.fixture
def installed(write: Write) -> None:
    """A distribution that brings the middleware `ref_tracing`, and one that is broken."""
    write("ref_tracing.py", "def tracing(*, rate=1.0):\n    return lambda handler: handler\n")
    write("ref_dist-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ref-dist\nVersion: 1\n")
    write(
        "ref_dist-1.dist-info/entry_points.txt",
        "[taskmaster.middleware]\n"
        "ref_tracing = ref_tracing:tracing\nref_broken = ref_nowhere:tracing\n",
    )


@pytest.mark.usefixtures("installed")
def test_middleware_is_found_by_its_entry_point() -> None:
    assert ran(middleware_factory({"use": "ref_tracing", "rate": 0.5}, where="middleware")) is ACK


@pytest.mark.usefixtures("installed")
def test_unknown_middleware_is_refused_with_those_installed() -> None:
    sentence = refused_middleware("ref_tracign")

    assert sentence.startswith(
        "middleware: there is no middleware 'ref_tracign' (did you mean 'ref_tracing'?); installed"
    )
    assert "'ref_broken'" in sentence


@pytest.mark.usefixtures("installed")
def test_broken_entry_point_is_refused_by_its_name() -> None:
    assert refused_middleware("ref_broken").startswith(
        "middleware 'ref_broken': there is no module 'ref_nowhere'"
    )


# -- lifecycle


def ran(factory: Callable[[], Middleware | AbstractContextManager[Middleware]]) -> Outcome:
    """Return the outcome of one job inside the middleware."""
    with ExitStack() as stack:
        return open_middleware(factory, stack)(lambda job: ACK)(make_job())


def test_middleware_with_a_lifecycle_is_entered_and_left() -> None:
    seen = []

    @contextmanager
    def flushing() -> Iterator[Middleware]:
        seen.append("opened")
        yield rejecting
        seen.append("flushed")

    with ExitStack() as stack:
        # The result of @contextmanager is callable too, and must not be taken for the middleware.
        assert open_middleware(middleware_factory(flushing, where="middleware"), stack) is rejecting
        assert seen == ["opened"]
    assert seen == ["opened", "flushed"]


def test_factory_that_returns_nothing_is_refused() -> None:
    def forgetful() -> Middleware:
        return None  # type: ignore[return-value]

    with (
        ExitStack() as stack,
        pytest.raises(InvalidConfig, match=r"must be a function that takes the handler.*made None"),
    ):
        open_middleware(middleware_factory(forgetful, where="middleware"), stack)
