"""Passwords, DSNs and headers are not shown when a value is malformed."""

from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Consumer, InvalidConfig, Publisher, Supervisor, SupervisorOptions
from taskmaster.config import Settings, load
from taskmaster.errors import TaskmasterError
from taskmaster.imports import resolve_callable
from taskmaster.plugins import middleware_factories, open_middleware
from taskmaster.store.connection import connect

SECRET = "s3cret"
ODD = ["", *"@/?#%:[]' \"\\&=+,;.1\n"]  # none of them is escaped
UNUSED = "127.0.0.1:1"
DSN = f"https://{SECRET}@sentry.example/1"
HEADER = '[[consumer]]\nqueue_name = "q"\n'


def refusal(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises((TaskmasterError, TypeError)) as refused:
        function(*arguments, **options)
    return str(refused.value)


@pytest.mark.parametrize("first", ODD)
def test_password_is_not_shown_for_an_odd_url(first: str) -> None:
    for second, before in product(ODD, ["", "p", "1"]):
        password = f"{before}{first}{second}{SECRET}"
        for url in (
            f"postgresql://app:{password}@{UNUSED}/x",
            f"postgresql://{password}@{UNUSED}/x",
            f"postgresql://{UNUSED}/x?user=app&password={password}",
            f"host=127.0.0.1 port=1 user=app password={password}",
            f"app:{password}@{UNUSED}/x",
            f'"postgresql://app:{password}@{UNUSED}/x"',
        ):
            if not (url.startswith("postgresql://") and before + first + second == ""):
                assert SECRET not in refusal(connect, url, "taskmaster"), url


@pytest.mark.parametrize(
    "option", ["port", "sslmode", "target_session_attrs", "channel_binding", "gssencmode"]
)
def test_value_that_libpq_refuses_is_named_by_its_option(option: str) -> None:
    url = f"postgresql://{'' if option == 'port' else UNUSED}/x?host=127.0.0.1&{option}={SECRET}"
    said = refusal(connect, url, "taskmaster")
    assert SECRET not in said
    assert option in said or "write @ as %40" in said


@pytest.mark.parametrize(
    ("url", "way_out"),
    [
        ("postgresql://app:50%x@h/x", "write it %25"),
        ("postgresql://app:p@x@h/x", "write @ as %40"),
        ("postgresql://app:p/x@h/x", "/ as %2F"),
        ("host=h password=a b", "single quotes"),
        ("mysql://h/x", "got mysql://…"),
    ],
)
def test_malformed_url_is_refused_with_the_way_out(url: str, way_out: str) -> None:
    assert way_out in refusal(connect, url, "taskmaster")


@pytest.mark.parametrize(
    "text",
    [
        f'middleware = {{ use = "sentry", dsn = "{DSN}" }}\n{HEADER}callback = "jobs:f"\n',
        f'middleware = [{{ name = "sentry", dsn = "{DSN}" }}]\n{HEADER}callback = "jobs:f"\n',
        f'middleware = [["sentry", "{DSN}"]]\n{HEADER}callback = "jobs:f"\n',
        f'middleware = "{DSN}"\n{HEADER}callback = "jobs:f"\n',
        f'supervisor = "{DSN}"\n',
        f'supervisor = [{{ dsn = "{DSN}" }}]\n',
        f'consumer = ["{DSN}"]\n',
        f'schema = "{DSN}"\n',
        f'schema = {{ url = "{DSN}" }}\n',
        f'database_url = ["{DSN}"]\n',
        f'max_payload_bytes = "{DSN}"\n',
        f'[supervisor]\nhttp = "{DSN}"\n',
        f'[supervisor]\nhttp = "https://a:{SECRET}@host:9464"\n',
        f'[supervisor]\ngrace_seconds = "{DSN}"\n',
        f'{HEADER}callback = {{ dsn = "{DSN}" }}\n',
        f'{HEADER}callback = "jobs:f"\ncomponent = {{ dsn = "{DSN}" }}\n',
        f'{HEADER}callback = "jobs:f"\ndelivery = "{DSN}"\n',
        f'{HEADER}callback = "jobs:f"\nconcurrency = "{DSN}"\n',
        f'{HEADER}callback = "jobs:f"\ntimeout_seconds = "{DSN}"\n',
        f'{HEADER}callback = "jobs:f"\ncpu_affinity = "{DSN}"\n',
    ],
)
@pytest.mark.parametrize("dsn", [DSN, f"host=x password={SECRET}"])
def test_misplaced_dsn_is_not_shown(tmp_path: Path, text: str, dsn: str) -> None:
    file = tmp_path / "taskmaster.toml"
    file.write_text(text.replace(DSN, dsn))
    assert SECRET not in refusal(load, file)


@pytest.mark.parametrize("http", [f"u:{SECRET}@h:1", f"{SECRET}/h:1", f"u:{SECRET}:1"])
def test_password_in_an_address_is_refused_without_showing_it(http: str) -> None:
    with pytest.raises(InvalidConfig, match='http must be "host:port"'):
        SupervisorOptions(http=http)


def hold(**options: Any) -> None:
    """A middleware factory that makes none."""


@pytest.mark.parametrize(
    "spec",
    [
        DSN,
        {"use": DSN},
        {"dsn": DSN},
        {"use": hold, "dsn": DSN},
        {"use": "sentry", "dsn": f"no {SECRET}"},
        {"use": "sentry", "dsn": [DSN]},
        {"use": "sentry", "dsn": f"https://{SECRET}@sentry.example/none"},
        {"use": "tracing", "setup": DSN},
    ],
)
def test_dsn_of_a_middleware_is_not_shown(spec: Any) -> None:
    def open_all() -> None:
        with ExitStack() as stack:
            for factory in middleware_factories([spec], where="consumer 'q': middleware"):
                open_middleware(factory, stack)

    assert SECRET not in refusal(open_all)


@pytest.mark.parametrize("reference", [DSN, f"jobs:{DSN}"])
def test_dsn_in_place_of_a_callback_is_not_shown(reference: str) -> None:
    assert SECRET not in refusal(resolve_callable, reference, where="callback")


def test_headers_are_not_shown() -> None:
    publisher = Publisher("postgresql://")
    headers: Any = f"Authorization: {SECRET}"
    assert SECRET not in refusal(publisher.put, "q", headers=headers)


def test_settings_do_not_show_the_database_url() -> None:
    assert SECRET not in repr(Settings(database_url=DSN))
    assert SECRET not in repr(Supervisor(DSN, consumers=[Consumer("q", callback="jobs:f")]))
