"""Whose code runs, and from where: path, release, edition and flags of our processes."""

import os
import shutil
import signal
import sys
import sysconfig
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

import taskmaster
from taskmaster import Admin, Publisher
from tests.support import Gates, Journal, eventually
from tests.support.project import ROOT, Project, project

# As it is installed. With `python -m`, the current directory is on the path of any program.
COMMAND = (f"{sysconfig.get_path('scripts')}/taskmaster",)
# These need nothing but builtins, because any other module is hidden in some of the tests.
JOBS = """
import os

VERSION = {version}

def cb(job):
    with open({ran!r}, "a") as file:
        file.write(f"{{job.payload}} {{VERSION}}\\n")
    if job.payload == "raise":
        raise ValueError("as told")
    if job.payload == "crash":
        os.kill(os.getpid(), 9)
    while job.payload == "spin":
        pass
"""
MIDDLEWARE = """middleware = [
    "logging", "metrics", { use = "errors", retry = ["builtins:OSError"] },
    { use = "json_schema", schema = "any.json" },
    { use = "sentry", dsn = "http://key@127.0.0.1:9/1" },
]"""


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


@pytest.fixture
def ran(here: Project, tmp_path: Path) -> Callable[[], list[str]]:
    """Write jobs.py, and return a function that returns the lines of its runs."""
    file = tmp_path / "ran"
    write_jobs(here.directory, file)
    return lambda: file.read_text().splitlines() if file.exists() else []


def write_jobs(directory: Path, ran: Path, version: object = 1) -> None:
    (directory / "jobs.py").write_text(JOBS.format(ran=str(ran), version=version))


# -- files of the project that are named like other modules


def names_of_modules() -> set[str]:
    """Return the names of the modules of Python, and of those that taskmaster depends on."""
    standard = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    found = {name for name in standard - set(sys.builtin_module_names) if find_spec(name)}
    ours = {name for name in packages_distributions() if name.isidentifier()}
    return found | {name for name in ours if name not in ("opentelemetry", "tests")}


def test_files_named_like_other_modules_break_no_process(
    here: Project, publisher: Publisher, admin: Admin, ran: Callable[[], list[str]]
) -> None:
    for name in names_of_modules():
        (here.directory / f"{name}.py").write_text("raise RuntimeError('imported by mistake')")
    (here.directory / "any.json").write_text("{}")
    del here.environment["PYTHONPATH"]
    here.configure({"callback": "jobs:cb", "timeout_seconds": 1, "max_runs": 1, "batch": 1,
                    "max_crashes": 1}, top=MIDDLEWARE, http="':0'")  # fmt: skip
    for command in ("check", "status"):
        assert here.start(command, ready=False, program=COMMAND).wait(20) == 0, here.output()
    here.start(program=COMMAND)
    for payload in ("raise", "crash", "spin", "put"):
        publisher.put("q", payload)
    eventually(lambda: len(ran()) == 4)
    causes = ["exception", "signal SIGKILL", "timeout"]
    eventually(lambda: [job.failures[-1].cause for job in admin.find()] == causes)
    assert "ack" in eventually(lambda: page(here, "metrics"))
    here.reload()
    assert here.stop() == 0
    assert "imported by mistake" not in here.output()
    assert "modules of the same name are imported instead of these files" in here.output()


def page(here: Project, name: str) -> str:
    """Return a page of the exporter, or nothing if it shows no run yet."""
    (line,) = [line for line in here.output().splitlines() if "exporter listening: " in line]
    address = line.split("listening: ")[1].removesuffix("metrics")
    with urllib.request.urlopen(address + name, timeout=5.0) as response:
        text = response.read().decode()
    return text if 'taskmaster_jobs_total{outcome="ack"' in text else ""


@pytest.mark.parametrize("command", ["check", "run"])
def test_callback_in_a_hidden_file_is_refused_by_name(here: Project, command: str) -> None:
    (here.directory / "queue.py").write_text("def cb(job): ...\n")
    here.configure({"callback": "queue:cb"})
    assert here.start(command, ready=False, program=COMMAND).wait(20) == 1
    assert "callback: project/queue.py cannot be imported, because another" in here.output()
    assert "Traceback" not in here.output()


# -- a link to the current release


@pytest.fixture
def current(here: Project, tmp_path: Path) -> Path:
    """Return a link to the first of two releases. The second has one more consumer."""
    here.configure()
    for number in (1, 2):
        release = tmp_path / f"releases/{number}"
        release.mkdir(parents=True)
        write_jobs(release, tmp_path / "ran", number)
        schema = "{}" if number == 2 else '{"not": {"const": "for 2"}}'
        (release / "any.json").write_text(schema)
        shutil.copy(here.directory / "taskmaster.toml", release)
        with (release / "taskmaster.toml").open("a") as file:
            for queue in ("q", "r")[:number]:
                file.write(
                    f'[[consumer]]\nqueue_name = "{queue}"\ncallback = "jobs:cb"\n'
                    'middleware = [{ use = "json_schema", schema = "any.json" }]\n'
                )
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "releases/1")
    return link


def switch(current: Path) -> None:
    """Let the link lead to the second release, at once."""
    following = current.with_name("next")
    following.symlink_to(current.parent / "releases/2")
    following.replace(current)


@pytest.mark.parametrize("file", ["taskmaster.toml", "pyproject.toml"])
def test_reload_takes_code_and_files_of_the_new_release(
    here: Project, publisher: Publisher, ran: Callable[[], list[str]], current: Path, file: str
) -> None:
    if file == "pyproject.toml":
        for toml in current.parent.glob("releases/*/taskmaster.toml"):
            text = toml.read_text().replace("[[consumer]]", "[[tool.taskmaster.consumer]]")
            text = text.replace("[supervisor]", "[tool.taskmaster.supervisor]")
            toml.with_name(file).write_text(text)
    here.start("run", "--config", str(current / file), program=COMMAND)
    publisher.put_many("q", ["for 2", "for 1"])
    eventually(lambda: ran() == ["for 1 1"])
    switch(current)
    here.reload()
    publisher.put_many("q", ["for 2"])
    publisher.put_many("r", ["new"])
    eventually(lambda: sorted(ran()) == ["for 1 1", "for 2 2", "new 2"])
    assert here.stop() == 0


def test_template_that_is_replaced_stays_in_its_release(
    here: Project, publisher: Publisher, ran: Callable[[], list[str]], current: Path
) -> None:
    here.start("run", "--config", str(current / "taskmaster.toml"), program=COMMAND)
    switch(current)
    before = [*here.templates(), *here.workers()]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    publisher.put_many("q", ["for 2", "for 1"])
    eventually(lambda: ran() == ["for 1 1"])
    assert here.stop() == 0


# -- an upgrade on disk


@pytest.fixture
def installed(here: Project, tmp_path: Path) -> Path:
    """Return a copy of taskmaster that the project uses and a test may change."""
    (package,) = taskmaster.__path__
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(package, tmp_path / "site/taskmaster", ignore=ignored)
    here.environment["PYTHONPATH"] = f"{tmp_path / 'site'}:{ROOT}"
    return copy


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("version.py", 'VERSION = "', 'VERSION = "9.'),
        ("processes/ipc/scoreboard.py", "EMPTY, FAULT = ", "FAULT, EMPTY = "),
        ("processes/ipc/messages.py", "    reports: bool", "    reports: bool\n    more: int = 0"),
        ("settlement.py", "    id: int\n    state", "    number: int\n    state"),
        ("processes/ipc/edition.py", "EDITION = ", "ANOTHER_NAME = "),
    ],
)
def test_upgrade_on_disk_is_named_and_workers_go_on(
    here: Project, publisher: Publisher, journal: Journal, installed: Path,
    file: str, old: str, new: str,
) -> None:  # fmt: skip
    here.configure({})
    here.start()
    text = (installed / file).read_text()
    assert old in text
    (installed / file).write_text(text.replace(old, new, 1))
    here.hup()
    refused = "reload failed, keeping the current configuration: taskmaster or its Python was "
    eventually(lambda: f"{refused}upgraded on disk: restart the supervisor" in here.output())
    (template,) = eventually(here.templates)
    os.kill(template, signal.SIGKILL)
    eventually(lambda: "template replaced: taskmaster or its Python was" in here.output())
    job_id = publisher.put("q")
    eventually(lambda: journal.finished() == [job_id])
    (installed / file).write_text(text)
    eventually(here.templates)
    assert here.stop() == 0
    assert "Traceback" not in here.output()


# -- flags

FLAGS_JOBS = """
import sys
def cb(job):
    shown = [tuple(sys.flags), sys.warnoptions, sys._xoptions, sys.__stdout__.write_through]
    with open({ran!r}, "a") as file:
        file.write(repr(shown) + "\\n")
"""


@pytest.mark.parametrize(
    "flags",
    ["-O", "-OO", "-b", "-B", "-E", "-s", "-I", "-P", "-u", "-Xdev", "-Xutf8=0", "-Xmine=1",
     "-Wignore", "-Werror::BytesWarning", "-Ob -Xfaulthandler"],
)  # fmt: skip
def test_flags_of_the_interpreter_reach_callbacks(
    here: Project, publisher: Publisher, tmp_path: Path, flags: str
) -> None:
    ran = tmp_path / "ran"
    (here.directory / "jobs.py").write_text(FLAGS_JOBS.format(ran=str(ran)))
    del here.environment["PYTHONDONTWRITEBYTECODE"]
    here.environment["PYTHONPATH"] = ""
    here.configure({"callback": "jobs:cb"})
    here.start(program=[sys.executable, *flags.split(), "-m", "taskmaster"])
    publisher.put("q")
    eventually(lambda: ran.exists() and ran.read_text().endswith("\n"))
    assert here.stop() == 0
    expected = {"jobs": ran.read_text(), "plain": plain_flags(here, flags.split())}
    assert expected["jobs"] == expected["plain"]


def plain_flags(here: Project, flags: list[str]) -> str:
    """Return what plain Python with these flags shows."""
    file = here.directory / "plain"
    code = f"{FLAGS_JOBS.format(ran=str(file))}\ncb(None)\n"
    script = here.directory / "plain.py"
    script.write_text(code)
    assert here.start(str(script), ready=False, program=[sys.executable, *flags]).wait(20) == 0
    return file.read_text()


def test_arguments_of_any_length_do_not_matter(
    here: Project, publisher: Publisher, ran: Callable[[], list[str]]
) -> None:
    app = here.directory / "app.py"
    app.write_text(
        "from pathlib import Path\n"
        "import sys\n"
        "from taskmaster import Consumer, Supervisor\n"
        "if __name__ == '__main__':\n"
        "    sys.path.append(Path('no string'))\n"
        "    Supervisor(consumers=[Consumer('q', callback='jobs:cb')]).start().stop()\n"
    )
    arguments = [f"file{number}" for number in range(20_000)]
    process = here.start(str(app), *arguments, ready=False, program=[sys.executable])
    assert process.wait(20) == 0, here.output()
