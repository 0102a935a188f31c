"""Names in a configuration: what they stand for, and one sentence for each way in which they stand for nothing."""

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
    """Write a module into the current directory, which is on the path; forget it afterwards."""
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


def test_what_counts_runs_is_in_a_chain_once() -> None:
    specs: list[Any] = ["logging", "metrics", {"use": "metrics", "wait_buckets": [1.0]}]
    with pytest.raises(InvalidConfig) as refused:
        middleware_factories(specs, where="middleware")
    assert (
        str(refused.value)
        == "middleware: 'metrics' is named twice and may be in a chain once: name it once"
    )
    assert len(middleware_factories(["logging", "logging", "metrics"], where="middleware")) == 3


# -- "module:name"


def test_a_reference_stands_for_its_object(write: Write) -> None:
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
def test_a_malformed_reference_shows_the_form(reference: str) -> None:
    assert (
        refusal(reference) == f'must be "module:name", like "images:thumbnail", got {reference!r}'
    )


def test_a_missing_module_is_not_mistaken_for_one_that_it_imports(
    write: Write, tmp_path: Path
) -> None:
    write("ref_importing.py", "\nimport ref_absent_library\n")

    searched = f"searched were {tmp_path.name}/ and the installed packages"
    assert refusal("ref_absent:send") == f"there is no module 'ref_absent'; {searched}"
    assert refusal("ref_absent.mails:send") == f"there is no module 'ref_absent'; {searched}"
    assert refusal("ref_importing:send") == (
        "module 'ref_importing' imports 'ref_absent_library', which cannot be found (ref_importing.py:2)"
    )


def test_a_missing_submodule_is_named_in_full(write: Write) -> None:
    write("ref_package/__init__.py", "")

    assert refusal("ref_package.mails:send").startswith(
        "there is no module 'ref_package.mails'; searched"
    )


def test_a_module_with_a_longer_name_is_not_mistaken_for_the_missing_one(write: Write) -> None:
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
def test_a_module_that_raises_at_import_says_what_and_where(
    write: Write, text: str, sentence: str
) -> None:
    write("ref_raising.py", text)

    assert refusal("ref_raising:send").startswith(f"importing 'ref_raising' raised {sentence}")


def test_an_error_far_below_the_import_is_shown_where_it_was_raised(write: Write) -> None:
    write("ref_helper.py", "def connect():\n    raise OSError('no route')\n")
    write("ref_outer.py", "import ref_helper\nref_helper.connect()\n")

    assert (
        refusal("ref_outer:send")
        == "importing 'ref_outer' raised OSError: no route (ref_helper.py:2)"
    )


def test_a_message_without_end_is_cut(write: Write) -> None:
    write("ref_long.py", "raise RuntimeError('x' * 100_000)\n")

    assert len(refusal("ref_long:send")) < 400


def test_a_typo_in_a_name_suggests_the_one_that_is_there(write: Write) -> None:
    write("ref_mails.py", "def send(job): ...\n")

    assert refusal("ref_mails:sned") == "module 'ref_mails' has no 'sned' (did you mean 'send'?)"


def test_a_name_like_no_other_lists_what_the_module_defines(write: Write) -> None:
    write(
        "ref_mails.py",
        "import json\nfrom pathlib import Path\ndef send(job): ...\ndef sort(job): ...\n",
    )

    assert (
        refusal("ref_mails:thumbnail")
        == "module 'ref_mails' has no 'thumbnail'; there is 'send', 'sort'"
    )


def test_a_modules_own_getattr_may_raise_anything(write: Write) -> None:
    write("ref_lazy.py", "def __getattr__(name):\n    raise RuntimeError(f'{name} is not built')\n")

    assert refusal("ref_lazy:send") == (
        "reading 'send' of module 'ref_lazy' raised RuntimeError: send is not built (ref_lazy.py:2)"
    )


def test_a_callback_that_cannot_be_called_is_refused(write: Write) -> None:
    write("ref_constant.py", "SIZE = 3\n")

    with pytest.raises(
        InvalidConfig, match=r'must be a function or "module:name", \'ref_constant:SIZE\' is 3$'
    ):
        resolve_callable("ref_constant:SIZE", where=WHERE)
    with pytest.raises(InvalidConfig, match=r'must be a function or "module:name", got 3$'):
        resolve_callable(3, where=WHERE)


def test_an_async_callback_is_refused_before_every_job_fails() -> None:
    async def send(job: Job) -> None: ...

    with pytest.raises(InvalidConfig, match="is an async function; a worker calls plain ones"):
        resolve_callable(send, where=WHERE)


def test_a_function_is_taken_as_it_is() -> None:
    assert resolve_callable(len, where=WHERE) is len


# -- middlewares


def rejecting(handler: Handler) -> Handler:
    return lambda job: Reject(f"{handler(job)}")


def labelled(*, label: str = "none", level: int = 0) -> Middleware:
    return lambda handler: lambda job: Reject(f"{label} {level}")


def demanding(*, dsn: str) -> Middleware:
    return labelled(label=dsn)


def test_a_function_that_takes_the_handler_is_the_middleware_itself() -> None:
    assert middleware_factory(rejecting, where="middleware")() is rejecting


def test_a_class_that_takes_the_handler_is_a_middleware() -> None:
    class Audit:
        def __init__(self, handler: Handler) -> None:
            self.handler = handler

        def __call__(self, job: Job) -> Outcome:
            return self.handler(job)

    assert middleware_factory(Audit, where="middleware")() is Audit


def test_a_factory_is_called_with_its_options_in_each_worker() -> None:
    factory = middleware_factory({"use": labelled, "label": "a", "level": 2}, where="middleware")

    assert ran(factory) == Reject("a 2")


def test_a_factory_without_options_is_called_too() -> None:
    assert ran(middleware_factory(labelled, where="middleware")) == Reject("none 0")


def test_a_factory_is_not_called_before_the_fork() -> None:
    calls = []

    def counting() -> Middleware:
        calls.append(1)
        return rejecting

    factory = middleware_factory(counting, where="middleware")
    assert calls == []
    factory()
    assert calls == [1]


def test_a_middleware_is_found_by_module_and_name(write: Write) -> None:
    write("ref_audit.py", "def audit(handler):\n    return handler\n")

    assert ran(middleware_factory("ref_audit:audit", where="middleware")) is ACK
    assert ran(middleware_factory({"use": "ref_audit:audit"}, where="middleware")) is ACK


def test_a_typo_in_an_option_names_those_accepted() -> None:
    assert refused_middleware({"use": labelled, "lable": "a"}) == (
        "middleware 'labelled': unknown option 'lable' (did you mean 'label'?); it accepts 'label', 'level'"
    )


def test_an_option_for_a_factory_without_any_is_refused() -> None:
    def plain() -> Middleware:
        return rejecting

    assert refused_middleware({"use": plain, "label": "a"}) == (
        "middleware 'plain': unknown option 'label'; it accepts none"
    )


def test_a_missing_option_is_found_before_the_fork() -> None:
    assert refused_middleware(demanding) == "middleware 'demanding': option 'dsn' is missing"


def test_a_factory_that_takes_any_option_is_left_alone() -> None:
    def anything(**options: Any) -> Middleware:
        return labelled(label=",".join(options))

    assert ran(middleware_factory({"use": anything, "x": 1, "y": 2}, where="middleware")) == Reject(
        "x,y 0"
    )


@pytest.mark.parametrize("spec", [3, None, {"use": 3}])
def test_what_is_no_middleware_is_refused(spec: object) -> None:
    assert refused_middleware(spec).startswith(
        'middleware: must be a function or "module:name", got'
    )


def test_a_table_without_use_is_refused() -> None:
    assert refused_middleware({"format": "json"}) == (
        "middleware: a middleware's table must hold 'use', got {'format': 'json'}"
    )


@pytest.fixture
def installed(write: Write) -> None:
    """A distribution that brings the middleware `ref_tracing`, and one that is broken."""
    write("ref_tracing.py", "def tracing(*, rate=1.0):\n    return lambda handler: handler\n")
    write("ref_dist-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ref-dist\nVersion: 1\n")
    write(
        "ref_dist-1.dist-info/entry_points.txt",
        "[taskmaster.middleware]\nref_tracing = ref_tracing:tracing\nref_broken = ref_nowhere:tracing\n",
    )


@pytest.mark.usefixtures("installed")
def test_a_middleware_is_found_by_its_entry_point() -> None:
    assert ran(middleware_factory({"use": "ref_tracing", "rate": 0.5}, where="middleware")) is ACK


@pytest.mark.usefixtures("installed")
def test_an_unknown_middleware_names_those_installed() -> None:
    sentence = refused_middleware("ref_tracign")

    assert sentence.startswith(
        "middleware: there is no middleware 'ref_tracign' (did you mean 'ref_tracing'?); installed"
    )
    assert "'ref_broken'" in sentence


@pytest.mark.usefixtures("installed")
def test_a_broken_entry_point_is_named() -> None:
    assert refused_middleware("ref_broken").startswith(
        "middleware 'ref_broken': there is no module 'ref_nowhere'"
    )


# -- lifecycle


def ran(factory: Callable[[], Middleware | AbstractContextManager[Middleware]]) -> Outcome:
    """What one job comes to inside the middleware."""
    with ExitStack() as stack:
        return open_middleware(factory, stack)(lambda job: ACK)(make_job())


def test_a_middleware_with_a_lifecycle_is_entered_and_left() -> None:
    seen = []

    @contextmanager
    def flushing() -> Iterator[Middleware]:
        seen.append("opened")
        yield rejecting
        seen.append("flushed")

    with ExitStack() as stack:
        # What @contextmanager makes can be called as well: it must not be taken for the middleware.
        assert open_middleware(middleware_factory(flushing, where="middleware"), stack) is rejecting
        assert seen == ["opened"]
    assert seen == ["opened", "flushed"]


def test_a_factory_that_forgot_to_return_is_refused() -> None:
    def forgetful() -> Middleware:
        return None  # type: ignore[return-value]

    with (
        ExitStack() as stack,
        pytest.raises(InvalidConfig, match=r"must be a function that takes the handler.*made None"),
    ):
        open_middleware(middleware_factory(forgetful, where="middleware"), stack)
