"""Starting: what cannot work says so in one sentence, and what will work later is waited for."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Consumer, Publisher, WorkersFailed
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT

CALLBACKS = "tests.support.callbacks"
Refused = Callable[..., str]


@pytest.fixture
def refused(supervise: Supervise, journal: Journal) -> Refused:
    """The sentence with which a start is refused; no worker may have been started for it."""

    def sentence(consumer: Consumer, *, workers: bool = False, **options: Any) -> str:
        with pytest.raises(WorkersFailed) as caught, supervise(consumer, within=40.0, **options):
            raise AssertionError("it started")
        assert workers or journal.lines() == []
        return str(caught.value)

    return sentence


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of the user's; its name."""

    def write(source: str) -> str:
        (tmp_path / "users_module.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        return "users_module"

    return write


def test_module_that_raises_at_import_is_named_with_its_error(
    refused: Refused, module: Callable[[str], str]
) -> None:
    name = module("import os\n\nraise RuntimeError('no display')\n")
    sentence = refused(Consumer("mail", callback=f"{name}:send"))
    assert re.search(
        r"consumers: consumer 'mail': callback: importing 'users_module' raised", sentence
    )
    assert "RuntimeError: no display" in sentence
    assert "users_module.py" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("nowhere.to_be:found", "there is no module 'nowhere'"),
        (f"{CALLBACKS}:ackt", "did you mean 'act'"),
        (f"{CALLBACKS}:ACT", "must be a function"),
        ("act", "module:name"),
    ],
)
def test_unusable_callback_is_refused_before_any_worker_starts(
    refused: Refused, callback: str, words: str
) -> None:
    sentence = refused(Consumer("q", callback=callback))
    assert sentence.startswith("consumers: consumer 'q': callback")
    assert words in sentence


def test_module_that_exits_at_import_is_refused(
    refused: Refused, module: Callable[[str], str]
) -> None:
    sentence = refused(Consumer("q", callback=f"{module('raise SystemExit(0)')}:send"))
    assert "importing 'users_module' raised" in sentence


def test_module_that_ends_the_template_stops_the_supervisor(
    refused: Refused, module: Callable[[str], str]
) -> None:
    sentence = refused(Consumer("q", callback=f"{module('import os; os._exit(9)')}:send"))
    assert sentence.endswith("importing 'users_module:send': it ended with exit code 9")


def test_module_that_starts_a_thread_is_refused(
    refused: Refused, module: Callable[[str], str]
) -> None:
    source = """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        def send(job): ...
    """
    sentence = refused(Consumer("q", callback=f"{module(source.replace(' ' * 8, ''))}:send"))
    assert "users_module:send starts a thread" in sentence


def test_middleware_that_cannot_be_found_is_refused(refused: Refused) -> None:
    sentence = refused(Consumer("q", callback=ACT, middleware=["no_such_middleware"]))
    assert sentence.startswith("consumers: consumer 'q': middleware")
    assert "'no_such_middleware'" in sentence


def test_component_that_raises_stops_the_supervisor(refused: Refused) -> None:
    consumer = Consumer("q", callback=ACT, component=f"{CALLBACKS}:broken_component")
    sentence = refused(consumer, boot_attempts=3)
    assert sentence.startswith("3 workers in a row exited before their first claim")
    assert "consumer 'q': RuntimeError: no licence for the renderer" in sentence


def test_worker_that_exits_at_boot_stops_the_supervisor(refused: Refused, journal: Journal) -> None:
    consumer = Consumer(
        "q", callback=ACT, component=f"{CALLBACKS}:component_dying_until_the_gate_opens"
    )
    sentence = refused(consumer, workers=True, boot_attempts=4, restart_base_seconds=0.02)
    assert sentence.startswith("4 workers in a row exited before their first claim")
    assert "consumer 'q': exit code 7" in sentence
    attempts = [line["at"] for line in journal.lines("entered")]
    assert len(attempts) == 4
    waits = [later - earlier for earlier, later in pairwise(attempts)]
    assert waits[0] >= 0.02  # with backoff
    assert waits[2] >= 0.08


def test_worker_that_boots_at_the_third_attempt_works(
    supervise: Supervise, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    consumer = Consumer(
        "q", callback=ACT, component=f"{CALLBACKS}:component_dying_until_the_gate_opens"
    )

    def open_later() -> None:
        eventually(lambda: len(journal.lines("entered")) >= 2)
        gates.open()

    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_later)
        with supervise(consumer, boot_attempts=100):
            job_id = publisher.put("q")
            eventually(lambda: journal.finished() == [job_id])
        opened.result(5.0)


def test_consumer_that_stops_booting_stops_the_supervisor(
    supervise: Supervise, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    gates.open()
    broken = Consumer(
        "q", callback=ACT, component=f"{CALLBACKS}:component_dying_until_the_gate_opens"
    )
    with supervise(broken, Consumer("r", callback=ACT), boot_attempts=2) as supervisor:
        (gates.directory / "gate").unlink()
        held = publisher.put("r", {"do": "hold_until_stopping"})
        eventually(lambda: journal.began() == [held])
        publisher.put("q", {"do": "die"})
        eventually(supervisor.has_left)
        supervisor.expected_exit = 1
    assert journal.finished() == [held]
