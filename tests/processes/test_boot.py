"""Starting: what cannot work is refused in one sentence, and what will work later is retried."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from taskmaster import Consumer, Publisher, WorkersFailed
from taskmaster.store.connection import Connection
from tests.support import Gates, Journal, Server, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.project import SLOW_IMPORT, Project, project

URL_OF_ANOTHER_LIBRARY = "postgresql+psycopg://u:s3cret@h/x"

CALLBACKS = "tests.support.callbacks"
Refuse = Callable[..., str]


@pytest.fixture
def refusal(supervise: Supervise, journal: Journal) -> Refuse:
    """Return the sentence with which a start is refused, without having started a worker."""

    def sentence(consumer: Consumer, *, workers: bool = False, **options: Any) -> str:
        with pytest.raises(WorkersFailed) as caught, supervise(consumer, within=40.0, **options):
            raise AssertionError("it started")
        assert workers or journal.lines() == []
        return str(caught.value)

    return sentence


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module of the user, and return its name."""

    def write(source: str) -> str:
        (tmp_path / "users_module.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        return "users_module"

    return write


def test_module_that_raises_at_import_is_named_with_its_error(
    refusal: Refuse, module: Callable[[str], str]
) -> None:
    name = module("import os\n\nraise RuntimeError('no display')\n")
    sentence = refusal(Consumer("mail", callback=f"{name}:send"))
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
    refusal: Refuse, callback: str, words: str
) -> None:
    sentence = refusal(Consumer("q", callback=callback))
    assert sentence.startswith("consumers: consumer 'q': callback")
    assert words in sentence


def test_module_that_exits_at_import_is_refused(
    refusal: Refuse, module: Callable[[str], str]
) -> None:
    sentence = refusal(Consumer("q", callback=f"{module('raise SystemExit(0)')}:send"))
    assert "importing 'users_module' raised" in sentence


def test_module_that_ends_the_template_stops_the_supervisor(
    refusal: Refuse, module: Callable[[str], str]
) -> None:
    sentence = refusal(Consumer("q", callback=f"{module('import os; os._exit(9)')}:send"))
    assert sentence.endswith("importing 'users_module:send': it ended with exit code 9")


def test_module_that_starts_a_thread_is_refused(
    refusal: Refuse, module: Callable[[str], str]
) -> None:
    source = """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        def send(job): ...
    """
    sentence = refusal(Consumer("q", callback=f"{module(source.replace(' ' * 8, ''))}:send"))
    assert "users_module:send starts a thread" in sentence


def test_middleware_that_cannot_be_found_is_refused(refusal: Refuse) -> None:
    sentence = refusal(Consumer("q", callback=ACT, middleware=["no_such_middleware"]))
    assert sentence.startswith("consumers: consumer 'q': middleware")
    assert "'no_such_middleware'" in sentence


def test_component_that_raises_stops_the_supervisor(refusal: Refuse) -> None:
    consumer = Consumer("q", callback=ACT, component=f"{CALLBACKS}:broken_component")
    sentence = refusal(consumer, boot_attempts=3)
    assert sentence.startswith("3 workers in a row exited before their first claim")
    assert "consumer 'q': RuntimeError: no licence for the renderer" in sentence


def test_worker_that_exits_at_boot_stops_the_supervisor(refusal: Refuse, journal: Journal) -> None:
    consumer = Consumer(
        "q", callback=ACT, component=f"{CALLBACKS}:component_exiting_until_the_gate_opens"
    )
    sentence = refusal(consumer, workers=True, boot_attempts=4, restart_base_seconds=0.02)
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
        "q", callback=ACT, component=f"{CALLBACKS}:component_exiting_until_the_gate_opens"
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


def test_consumer_that_stops_booting_ends_no_job_of_others(
    supervise: Supervise,
    publisher: Publisher,
    journal: Journal,
    gates: Gates,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gates.open()
    broken = Consumer(
        "q", callback=ACT, component=f"{CALLBACKS}:component_exiting_until_the_gate_opens"
    )
    with supervise(broken, Consumer("r", callback=ACT), boot_attempts=2) as supervisor:
        (gates.directory / "gate").unlink()
        held = publisher.put("r", {"do": "hold_until_stopping"})
        eventually(lambda: journal.began() == [held])
        publisher.put("q", {"do": "crash"})
        eventually(lambda: "worker not replaced" in capfd.readouterr().err)
        assert not supervisor.has_exited()
        assert journal.finished() == []
        gates.open()
        later = publisher.put("q", None)
        eventually(lambda: later in journal.finished())
    assert held in journal.finished()


# -- commands


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


@pytest.mark.parametrize("command", [("check",), ("run",), ("put", "q", "1"), ("status",)])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_command_refuses_an_invalid_url_without_its_password(
    here: Project, command: tuple[str, ...], place: str
) -> None:
    here.configure({}, top=f'database_url = "{URL_OF_ANOTHER_LIBRARY}"' if place == "file" else "")
    here.environment["TASKMASTER_DATABASE_URL"] = (
        URL_OF_ANOTHER_LIBRARY if place == "environment" else ""
    )
    code, output = run_command(here, *command)
    assert code == 1
    assert "database_url must begin with postgresql://" in output
    assert "s3cret" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("url", ["postgres:/x", "foo"])
@pytest.mark.parametrize("command", [("check",), ("run",), ("put", "q"), ("status",)])
def test_command_names_the_form_that_a_url_must_have(
    here: Project, command: tuple[str, ...], url: str
) -> None:
    here.configure({})
    here.environment["TASKMASTER_DATABASE_URL"] = url
    code, output = run_command(here, *command)
    assert code == 1
    assert "database_url cannot be read" in output
    assert "must begin with postgresql:// or be key=value pairs" in output


@pytest.fixture
def latin1_url(server: Server) -> Iterator[str]:
    name = f"{server.prefix}_latin1"
    server.execute("create database {} template template0 encoding 'LATIN1' locale 'C'", name)
    try:
        yield server.url_of(name)
    finally:
        server.execute("drop database {} with (force)", name)


@pytest.mark.parametrize("command", [("check",), ("run",), ("put", "q"), ("migrate",)])
def test_database_of_another_encoding_is_refused_in_one_sentence(
    here: Project, latin1_url: str, command: tuple[str, ...]
) -> None:
    here.configure({})
    here.environment["TASKMASTER_DATABASE_URL"] = latin1_url
    code, output = run_command(here, *command)
    assert code == 1
    assert output.count("the database must be encoded in UTF-8, it is LATIN1: create one") == 1
    assert "retrying" not in output
    assert "Traceback" not in output


@pytest.fixture
def powerless_url(server: Server, empty_database_url: str) -> Iterator[str]:
    """Return the URL of an empty database for a role that may create nothing."""
    name = f"{server.prefix}_powerless"
    server.execute("create role {}", name)
    try:
        database = str(conninfo_to_dict(empty_database_url)["dbname"])
        yield server.url_of(database, options=f"-c role={name}")
    finally:
        server.execute("drop role {}", name)


def test_check_fails_for_a_role_that_may_not_create_the_schema(
    here: Project, powerless_url: str
) -> None:
    here.configure({})
    here.environment["TASKMASTER_DATABASE_URL"] = powerless_url
    code, output = run_command(here, "check")
    assert code == 1
    (line,) = [line for line in output.splitlines() if " database: " in line]
    assert line.startswith("failed  database: schema 'taskmaster' does not exist yet, and role ")
    assert "grant create on database" in line


def test_check_passes_before_the_schema_is_created(here: Project, empty_database_url: str) -> None:
    here.configure({})
    here.environment["TASKMASTER_DATABASE_URL"] = empty_database_url
    code, output = run_command(here, "check")
    assert code == 0
    assert "ok      database: schema 'taskmaster' does not exist yet: 'taskmaster run'" in output


def contains(here: Project, words: str) -> bool:
    return words in here.output()


def test_schema_dropped_under_a_supervisor_is_named_in_its_log(
    here: Project, conn: Connection
) -> None:
    here.configure({})
    here.start()
    conn.execute("alter schema taskmaster rename to elsewhere")
    # Both the worker and the supervisor have met it.
    for line in ("database failed, retrying: ", "database refused "):
        eventually(partial(contains, here, line))
    conn.execute("alter schema elsewhere rename to taskmaster")
    eventually(lambda: "database works again" in here.output())
    assert here.stop() == 0
    assert "database unreachable" not in here.output()
    line = next(line for line in here.output().splitlines() if "database failed" in line)
    assert "schema 'taskmaster' was dropped or renamed, or tables or functions in it were" in line
    assert "at character" not in line


def test_refused_connection_is_logged_without_a_question(here: Project) -> None:
    here.configure({})
    here.environment["TASKMASTER_DATABASE_URL"] = "postgresql://127.0.0.1:1/none"
    here.start(ready=False)
    eventually(lambda: "database unreachable, retrying: " in here.output())
    assert here.stop() == 0
    assert "Connection refused" in here.output()
    assert "Is the server running" not in here.output()


@pytest.mark.parametrize(
    ("consumer", "top", "about"),
    [
        (
            {},
            'middleware = [{ use = "logging", format = "xml" }]',
            "format must be 'text' or 'json', got 'xml'",
        ),
        (
            {"callback": "tests.support.unusable_callbacks:take_no_job"},
            "",
            "'take_no_job' must take one argument, the job; it takes none",
        ),
        ({"callback": "tests.support.unusable_callbacks:generate"}, "", "generator function"),
        (
            {"component": "tests.support.unusable_callbacks:component_for"},
            "",
            "component: 'component_for' must take no argument; it takes 'place'",
        ),
        (
            {"component": "tests.support.unusable_callbacks:generate_component"},
            "",
            "component: 'generate_component' is a generator function; decorate it with",
        ),
    ],
)
def test_check_and_run_refuse_what_cannot_work_in_one_sentence(
    here: Project, consumer: dict[str, Any], top: str, about: str
) -> None:
    here.configure({"concurrency": 3, **consumer}, top=top)
    for command in ("check", "run"):
        code, output = run_command(here, command)
        assert code == 1
        assert "Traceback" not in output
        lines = [line for line in output.splitlines() if about in line]
        assert len(lines) == 1, output
        assert "consumer 'q'" in lines[0]


def test_component_that_is_no_context_manager_stops_run_at_once(here: Project) -> None:
    here.configure(
        {"component": "tests.support.unusable_callbacks:make_no_component"}, boot_attempts=100
    )
    code, output = run_command(here, "run")
    assert code == 1
    assert "Traceback" not in output
    assert output.splitlines()[-1] == (
        "taskmaster: taskmaster.toml: consumer 'q': component: 'make_no_component' must return a "
        "context manager, it returned 3"
    )


@pytest.mark.parametrize(("command", "exit_code"), [("check", 130), ("run", 0)])
def test_interrupt_during_a_slow_import_prints_no_traceback(
    here: Project, journal: Journal, command: str, exit_code: int
) -> None:
    here.configure({})
    here.write_version("slow", more=SLOW_IMPORT)
    process = here.start(command, ready=False, process_group=0)
    eventually(lambda: journal.lines("importing"), within=20.0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(10) == exit_code
    assert "Traceback" not in here.output()
    assert "KeyboardInterrupt" not in here.output()


@pytest.mark.parametrize("command", ["check", "run"])
def test_import_that_raises_keyboard_interrupt_is_one_sentence(here: Project, command: str) -> None:
    here.configure({})
    here.write_version("interrupting", more="raise KeyboardInterrupt")
    code, output = run_command(here, command)
    assert code == 1
    assert output.count("consumer 'q': an import raised KeyboardInterrupt") == 1
    assert "Traceback" not in output


def run_command(here: Project, *command: str) -> tuple[int, str]:
    """Run a command that ends by itself, and return its exit code and output."""
    process = here.start(*command, ready=False, stdin=subprocess.DEVNULL)
    return process.wait(20), here.output()
