"""SIGHUP to `taskmaster run`: new configuration and code, without losing a running job."""

import fcntl
import os
import pty
import select
import signal
import termios
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from taskmaster import Admin, Publisher, State
from taskmaster.processes.template.client import START_ATTEMPTS
from tests.support import Gates, Journal, eventually
from tests.support.project import SLOW_IMPORT, Project, project, versions

HOLD = {"do": "hold"}
BROKEN_COMPONENT = """
@contextmanager
def component():
    raise RuntimeError("no licence for the renderer")
    yield
"""


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    """A project with one worker for "q"."""
    with project(tmp_path / "project", database_url, journal, gates) as one:
        yield one


def versions_by_job(journal: Journal, *ids: int) -> dict[int, list[str]]:
    return {job_id: versions(journal, job_id) for job_id in ids}


# -- code


def test_job_that_runs_during_a_reload_finishes_on_the_old_code(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.start()
    held, *mates = publisher.put_many("q", [HOLD, *[{}] * 5])
    eventually(lambda: held in journal.began())
    here.write_version("new")
    here.reload()
    gates.open()
    eventually(lambda: admin.find() == [])
    assert versions_by_job(journal, held, *mates) == {held: ["old"]} | {
        mate: ["new"] for mate in mates
    }
    assert {run.run for run in journal.runs()} == {1}
    assert journal.most_at_once() == 1
    assert here.stop() == 0


def test_broken_code_and_a_killed_template_leave_the_workers(
    here: Project, publisher: Publisher, journal: Journal, gates: Gates
) -> None:
    here.configure({"batch": 1})
    here.start()
    held, (worker,), (template,) = publisher.put("q", HOLD), here.workers(), here.templates()
    eventually(lambda: journal.began() == [held])
    here.write_version("broken", "def (:")
    os.kill(template, signal.SIGKILL)
    failed = "template replaced: it failed to start: "
    eventually(lambda: here.output().count(failed) > START_ATTEMPTS, within=20.0)
    assert "jobs.py" in here.output().split(failed)[1].splitlines()[0]
    gates.open()
    later = publisher.put("q")
    eventually(lambda: journal.finished() == [held, later])
    assert here.workers() == [worker]
    here.write_version("fixed")
    os.kill(worker, signal.SIGKILL)
    last = publisher.put("q")
    eventually(lambda: versions(journal, last) == ["fixed"], within=20.0)
    assert here.stop() == 0


def test_new_worker_waits_for_the_only_old_one_to_finish(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.start()
    held, (old,) = publisher.put("q", HOLD), here.workers()
    eventually(lambda: held in journal.began())
    here.write_version("new")
    here.reload()
    waiting = publisher.put("q")
    eventually(lambda: len(here.templates()) == 1 and old in here.workers())
    assert journal.began() == [held]
    assert admin.get(waiting).state == State.READY
    gates.open()
    eventually(lambda: journal.finished() == [held, waiting])
    first, second = journal.runs()
    assert first.ended is not None
    assert first.ended <= second.began
    assert len(here.workers()) == 1


def test_reload_leaves_no_old_worker_and_no_old_template(here: Project) -> None:
    here.configure({"concurrency": 2})
    here.start()
    before = {*here.workers(), *here.templates()}
    for _ in range(3):
        here.reload()
    eventually(lambda: len(here.workers()) == 2 and len(here.templates()) == 1)
    assert before.isdisjoint([*here.workers(), *here.templates()])


def test_retry_after_a_reload_runs_the_new_code(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    here.configure({"retry_base_seconds": 0.2})
    here.start()
    job_id = publisher.put("q", {"do": "raise_once"})
    eventually(lambda: job_id in journal.finished())
    here.write_version("new")
    here.reload()
    eventually(lambda: admin.find() == [])
    assert [run.run for run in journal.runs_of(job_id)] == [1, 2]
    assert versions(journal, job_id)[0] == "old"


# -- configuration


def test_raised_concurrency_takes_effect_with_a_reload(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.configure({"batch": 1})
    here.start()
    ids = publisher.put_many("q", [HOLD] * 3)
    eventually(lambda: journal.began() == ids[:1])
    here.configure({"batch": 1, "concurrency": 3})
    here.reload()
    eventually(lambda: sorted(journal.began()) == ids)
    gates.open()
    eventually(lambda: admin.find() == [] and len(here.workers()) == 3)
    assert {run.run for run in journal.runs()} == {1}


def test_lowered_concurrency_waits_for_the_old_workers(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.configure({"batch": 1, "concurrency": 3})
    here.start()
    held = publisher.put_many("q", [{"do": "hold", "gate": gate} for gate in "abc"])
    eventually(lambda: sorted(journal.began()) == held)
    here.configure({"batch": 1, "concurrency": 1})
    here.reload()
    late = publisher.put("q")
    for gate, job_id in zip("abc", held, strict=True):
        gates.open(gate)
        eventually(lambda job_id=job_id: job_id in journal.finished())  # type: ignore[misc]
    eventually(lambda: admin.find() == [] and len(here.workers()) == 1)
    assert journal.runs_of(late)[0].began >= max(
        run.ended or 0 for run in journal.runs() if run.id in held
    )


def test_added_consumer_runs_and_removed_one_keeps_its_jobs(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    here.start()
    here.configure({"queue_name": "r"})
    here.reload()
    eventually(lambda: not here.workers("q") and len(here.workers("r")) == 1)
    left, run = publisher.put("q"), publisher.put("r")
    eventually(lambda: run in journal.finished())
    assert admin.get(left).state == State.READY
    here.configure({"queue_name": "r"}, {})
    here.reload()
    eventually(lambda: journal.finished() == [run, left])


# -- versions that cannot be used


@pytest.mark.parametrize(
    ("name", "text", "about"),
    [
        ("jobs.py", "def act(job:\n", "jobs.py:1"),
        ("jobs.py", "import nothing_like_this\n", "nothing_like_this"),
        ("jobs.py", "def acted(job): ...\n", "act"),
        ("jobs.py", "import os; os.kill(os.getpid(), 9)\n", "template"),
        ("taskmaster.toml", '[[consumer]]\nqueue_name = "q"\ncalback = "jobs:act"\n', "'callback'"),
        ("taskmaster.toml", "[[consumer]\n", "not TOML"),
        ("taskmaster.toml", "", "no [[consumer]]"),
        ("taskmaster.toml", None, "no taskmaster.toml"),
    ],
)
def test_version_that_cannot_be_loaded_keeps_the_old_one_running(
    here: Project, publisher: Publisher, journal: Journal, name: str, text: str | None, about: str
) -> None:
    here.start()
    workers, whole = here.workers(), (here.directory / name).read_text()
    (here.directory / name).unlink()
    if text is not None:
        (here.directory / name).write_text(text)
    here.hup()
    eventually(lambda: "reload failed" in here.output(), within=25.0)
    assert about in here.log_line("reload failed")
    job_id = publisher.put("q")
    eventually(lambda: journal.finished() == [job_id])
    assert (versions(journal, job_id), here.workers()) == (["old"], workers)
    (here.directory / name).write_text(whole)
    here.reload()
    assert here.stop() == 0


def test_component_failing_in_new_workers_keeps_the_old_ones(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.configure({"component": "jobs:component"})
    here.start()
    here.write_version("new", BROKEN_COMPONENT)
    here.hup()
    (sentence,) = eventually(
        lambda: [line for line in here.output().splitlines() if "reload failed" in line]
    )
    assert "no licence for the renderer" in sentence
    job_id = publisher.put("q")
    eventually(lambda: journal.finished() == [job_id])
    assert versions(journal, job_id) == ["old"]
    here.write_version("fixed")
    here.reload()
    later = publisher.put("q")
    eventually(lambda: versions(journal, later) == ["fixed"])
    assert here.stop() == 0


def test_canary_claims_no_job_while_the_old_worker_runs(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.configure({"batch": 1})
    here.start()
    held = publisher.put("q", HOLD)
    eventually(lambda: journal.began() == [held])
    here.write_version("new")
    here.reload()
    later = publisher.put_many("q", [{}] * 3)
    here.write_version("broken", BROKEN_COMPONENT)
    here.configure({"batch": 1, "component": "jobs:component"})
    here.hup()
    eventually(lambda: "reload failed" in here.output())
    gates.open()
    eventually(lambda: admin.find() == [])
    assert versions_by_job(journal, held, *later) == {held: ["old"]} | {
        job_id: ["new"] for job_id in later
    }
    assert journal.most_at_once() == 1
    eventually(lambda: len(here.workers()) == 1 and len(here.templates()) == 1)
    assert here.stop() == 0


def test_option_refused_by_new_workers_keeps_the_old_ones(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    here.configure({}, top='middleware = [{ use = "logging", format = "xml" }]')
    here.hup()
    eventually(lambda: "reload failed" in here.output())
    assert "'xml'" in here.log_line("reload failed")
    job_id = publisher.put("q")
    eventually(lambda: journal.finished() == [job_id])


@pytest.mark.parametrize("what", ["database_url", "schema", "[supervisor]"])
def test_reload_refuses_a_setting_that_needs_a_restart(
    here: Project, publisher: Publisher, journal: Journal, database_url: str, what: str
) -> None:
    del here.environment["TASKMASTER_DATABASE_URL"]
    here.configure({}, top=f'database_url = "{database_url}"')
    here.start()
    changes = {
        "database_url": f'database_url = "{database_url}&user=s3cret"',
        "schema": 'schema = "other"',
    }
    if what == "[supervisor]":
        here.configure({}, top=f'database_url = "{database_url}"', grace_seconds=1)
    else:
        here.configure(
            {},
            top=f'database_url = "{database_url}"\n{changes[what]}'
            if what == "schema"
            else changes[what],
        )
    here.hup()
    eventually(lambda: "reload failed" in here.output())
    sentence = here.log_line("reload failed")
    assert f"{what} has changed, and only a restart can change it" in sentence
    assert "s3cret" not in here.output()
    job_id = publisher.put("q")
    eventually(lambda: journal.finished() == [job_id])


# -- signals during a reload


def test_two_hups_in_a_row_end_with_the_last_version(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    here.write_version("second")
    here.hup()
    here.write_version("third")
    here.hup()
    eventually(
        lambda: (
            publisher.put("q") and "third" in [line["version"] for line in journal.lines("version")]
        )
    )
    eventually(lambda: len(here.workers()) == 1 and len(here.templates()) == 1)
    assert here.stop() == 0


def test_storm_of_hangups_reloads_twice_at_most(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    for _ in range(50):
        here.hup()
        publisher.put("q", {})
    eventually(lambda: here.reload_count() >= 1)
    eventually(lambda: len(journal.finished()) == 50)
    assert here.output().count("reload started") <= 2
    assert here.stop() == 0


def test_jobs_run_while_the_configuration_is_being_read(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    configuration = here.directory / "taskmaster.toml"
    content = configuration.read_text()
    configuration.unlink()
    os.mkfifo(configuration)
    here.hup()
    eventually(lambda: "reload started" in here.output())
    job_id = publisher.put("q", {})
    eventually(lambda: journal.finished() == [job_id], within=3.0)
    configuration.write_text(content)
    eventually(lambda: here.reload_count() == 1)
    assert here.stop() == 0


def test_version_whose_import_hangs_is_replaced_by_the_next(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    here.write_version("hanging", SLOW_IMPORT)
    here.hup()
    eventually(lambda: journal.lines("importing"))
    job_id = publisher.put("q")
    eventually(lambda: versions(journal, job_id) == ["old"])
    here.write_version("new")
    here.reload()
    later = publisher.put("q")
    eventually(lambda: versions(journal, later) == ["new"])
    eventually(lambda: len(here.templates()) == 1)


def test_sigterm_during_a_reload_ends_both_versions(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.start()
    held = publisher.put("q", HOLD)
    eventually(lambda: journal.began() == [held])
    here.write_version("new", SLOW_IMPORT)
    here.hup()
    eventually(lambda: journal.lines("importing"))
    os.kill(here.pid, signal.SIGTERM)
    eventually(lambda: here.templates() == [])
    gates.open()
    assert here.wait_for_exit() == 0
    assert (journal.finished(), admin.find()) == ([held], [])


def test_hup_while_stopping_is_ignored(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.start()
    held = publisher.put("q", HOLD)
    eventually(lambda: journal.began() == [held])
    os.kill(here.pid, signal.SIGTERM)
    eventually(lambda: "supervisor stopping: SIGTERM" in here.output())
    here.hup()
    gates.open()
    assert here.wait_for_exit() == 0
    assert (journal.finished(), admin.find(), here.reload_count()) == ([held], [], 0)


def test_sigterm_waits_for_jobs_of_the_old_version_too(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.configure({"batch": 1, "concurrency": 2})
    here.start()
    old = publisher.put("q", HOLD)
    eventually(lambda: journal.began() == [old])
    here.write_version("new")
    here.reload()
    new = publisher.put("q", HOLD)
    eventually(lambda: journal.began() == [old, new])
    os.kill(here.pid, signal.SIGTERM)
    eventually(lambda: "supervisor stopping: SIGTERM" in here.output())
    gates.open()
    assert here.wait_for_exit() == 0
    assert (journal.finished(), admin.find()) == ([old, new], [])
    assert versions_by_job(journal, old, new) == {old: ["old"], new: ["new"]}


def test_twenty_hups_under_load_lose_and_charge_no_job(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    here.configure({"concurrency": 2})
    here.start()
    ids: list[int] = []
    for number in range(20):
        ids += publisher.put_many("q", [{"do": "spin", "seconds": 0.003}] * 30)
        here.write_version(f"version {number}")
        here.reload() if number % 4 == 3 else here.hup()
        eventually(lambda enough=number * 20: len(journal.began()) >= enough)  # type: ignore[misc]
    eventually(lambda: admin.find() == [], within=20.0)
    assert sorted(journal.began()) == sorted(journal.finished()) == ids
    assert {run.run for run in journal.runs()} == {1}
    assert journal.most_at_once() <= 2
    eventually(lambda: len(here.workers()) == 2 and len(here.templates()) == 1)
    assert here.stop() == 0


# -- hang-ups


def test_hang_up_of_the_terminal_stops_the_service(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ours, theirs = pty.openpty()
    here.start(
        ready=False, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"ready: " not in shown:
        assert select.select([ours], [], [], 20.0)[0], shown
        shown += os.read(ours, 65_536)
    job_id = publisher.put("q", {"do": "hold_until_stopping"})
    eventually(lambda: journal.began() == [job_id])
    os.close(ours)
    assert here.wait_for_exit() == 0
    assert (journal.finished(), admin.find(), admin.supervisors()) == ([job_id], [], [])


def test_hup_to_a_busy_worker_does_not_affect_its_job(
    here: Project, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    here.start()
    held, (worker,) = publisher.put("q", HOLD), here.workers()
    eventually(lambda: journal.began() == [held])
    os.kill(worker, signal.SIGHUP)
    gates.open()
    eventually(lambda: admin.find() == [])
    assert [(run.pid, run.run) for run in journal.runs()] == [(worker, 1)]
    assert here.workers() == [worker]


def test_hup_to_an_idle_worker_does_not_end_it(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    here.start()
    (worker,) = here.workers()
    first = publisher.put("q")
    eventually(lambda: journal.finished() == [first])
    os.kill(worker, signal.SIGHUP)
    second = publisher.put("q")
    eventually(lambda: journal.finished() == [first, second])
    assert {run.pid for run in journal.runs()} == {worker}


def test_refused_reloads_leave_no_descriptor_behind(here: Project) -> None:
    here.configure({"component": "jobs:component"})
    here.start()
    before: int | None = None
    for number in range(1, 4):
        here.write_version(f"broken {number}", BROKEN_COMPONENT)
        here.hup()
        eventually(partial(has_failed, here, number))
        before = before or descriptors(here)
    eventually(lambda: descriptors(here) <= (before or 0))


def has_failed(here: Project, times: int) -> bool:
    return here.output().count("reload failed") == times


def descriptors(here: Project) -> int:
    return len(list(Path(f"/proc/{here.pid}/fd").iterdir()))
