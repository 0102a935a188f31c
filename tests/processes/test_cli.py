"""The command as people and programs see it: output, exit codes and JSON, on a real database."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Gates, Supervise, eventually
from tests.support.misbehaving_callbacks import MISBEHAVE
from tests.support.supervisor_process import MARK, expect_no_process

UNUSUAL_NAMES = ['it\'s a "b" 🚀', "a.b;drop table ready;--", "[red]alarm[/red] %s {x}"]

CONFIG = """\
[supervisor]
grace_seconds = 5
heartbeat_seconds = 0.1
gone_after_seconds = 5

[[consumer]]
queue_name = "mail"
callback = "mails:send"
concurrency = 2
"""

MAILS = """\
from taskmaster import Reject

def send(job):
    if job.payload == "reject":
        return Reject("no such address")
    if job.payload == "raise":
        raise ValueError("smtp said no")
"""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "TASKMASTER_DATABASE_URL": database_url}


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Run `taskmaster …` in an empty directory, and return when it is done."""

    def run(*arguments: str, stdin: str = "", **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "taskmaster", *arguments],
            cwd=tmp_path, env={**environment, **changes}, input=stdin, text=True,
            capture_output=True, timeout=30,
        )  # fmt: skip

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start `taskmaster …` in the same directory. None of its processes may be left."""
    mark = f"cli-{os.urandom(6).hex()}"
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        with (tmp_path / "run.log").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "taskmaster", *arguments],
                    cwd=tmp_path,
                    env={**environment, MARK: mark, "SPT_NOENV": "1"},
                    text=True,
                    stdout=log,
                    stderr=log,
                )
            )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
    expect_no_process(mark)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a configuration and its callbacks."""
    (tmp_path / "taskmaster.toml").write_text(CONFIG)
    (tmp_path / "mails.py").write_text(MAILS)
    return tmp_path


def error_of(process: "subprocess.CompletedProcess[str]", code: int = 1) -> str:
    """Return the only sentence of a command that failed: on stderr, with nothing on stdout."""
    assert (process.returncode, process.stdout) == (code, ""), process.stderr
    assert process.stderr.startswith("taskmaster: ")
    assert process.stderr.count("\n") == 1
    return process.stderr


def put_rejected(
    conn: Any, payload: str = "null", queue_name: str = "mail", reason: str = "no"
) -> int:
    """Insert a rejected job with one failure, as a worker leaves it, and return its id."""
    failure = {
        "cause": "reject",
        "message": reason,
        "run": 1,
        "worker": "w",
        "traceback": f"Traceback: {reason}",
    }
    (job_id,) = conn.execute(
        "insert into rejected"
        " (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, failures)"
        " values (nextval('job_ids'), %s, 0, 1, 0, 0, now(), %s::json, %s::jsonb) returning id",
        (queue_name, payload, json.dumps([failure])),
    ).fetchone()
    return int(job_id)


# -- put


def test_put_prints_the_id_and_nothing_else(cli: Cli, admin: Admin) -> None:
    done = cli("put", "mail", '{"to": "ada"}', "--priority", "3", "--headers", '{"trace": "x"}')

    assert (done.returncode, done.stderr) == (0, "")
    record = admin.get(int(done.stdout))
    assert (record.payload, record.priority, record.headers) == ({"to": "ada"}, 3, {"trace": "x"})


def test_put_into_a_queue_without_consumer_prints_a_note(cli: Cli, project: Path) -> None:
    assert (project / "taskmaster.toml").exists()
    done = cli("put", "mial", "1")
    assert (done.returncode, done.stdout.strip().isdigit()) == (0, True)
    assert done.stderr == (
        "note: no consumer in taskmaster.toml is for queue 'mial' (did you mean 'mail'?)\n"
    )
    done = cli("put", "thumbnails", "1", "--json")
    assert json.loads(done.stdout)["queue_name"] == "thumbnails"
    assert done.stderr == "note: no consumer in taskmaster.toml is for queue 'thumbnails'\n"
    assert cli("put", "mail", "1").stderr == ""


def test_missing_payload_is_null_and_a_delay_schedules(cli: Cli, admin: Admin) -> None:
    record = admin.get(int(cli("put", "mail", "--delay", "600").stdout))

    assert (record.payload, record.state) == (None, State.SCHEDULED)


def test_unusual_queue_name_is_shown_literally(cli: Cli) -> None:
    for name in UNUSUAL_NAMES:
        assert cli("put", name, "1").returncode == 0

    for command in (("status",), ("jobs",)):
        shown = cli(*command).stdout
        assert [name for name in UNUSUAL_NAMES if name not in shown] == []
    queues = json.loads(cli("status", "--json").stdout)["queues"]
    assert {queue["queue_name"] for queue in queues} == set(UNUSUAL_NAMES)
    for name in UNUSUAL_NAMES:
        assert cli("delete", "--queue", name, "--yes").returncode == 0
    assert json.loads(cli("jobs", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("", "1"), "queue name must not be empty"),
        (("x" * 201, "1"), "200"),
        (("mail", "{not json"), "not JSON"),
        (("mail", '"a\\u0000b"'), "NUL"),
        (("mail", "1", "--priority", "10"), "priority"),
        (("mail", "1", "--delay", "nan"), "delay"),
        (("mail", json.dumps("x" * 1_000_001)), "1,000,000"),
    ],
)
def test_invalid_put_is_refused_in_one_sentence(
    cli: Cli, arguments: tuple[str, ...], about: str
) -> None:
    arguments = tuple(argument for argument in arguments if len(argument) < 100_000) + (
        ("-",) if any(len(argument) >= 100_000 for argument in arguments) else ()
    )
    stdin = json.dumps("x" * 1_000_001) if "-" in arguments else ""

    assert about in error_of(cli("put", *arguments, stdin=stdin), code=2)


def test_number_too_large_for_a_job_is_refused_and_not_rounded(cli: Cli, admin: Admin) -> None:
    assert cli("put", "mail", "18446744073709551616").returncode == 2
    assert "1e999" in error_of(cli("put", "mail", '{"a": 1e999}'), code=2)
    assert admin.size("mail") == 0


def test_lines_from_stdin_are_put_in_order(cli: Cli, admin: Admin) -> None:
    done = cli("put", "mail", "-", "--json", stdin='{"n": 1}\n\n"zwei"\n3')

    ids = json.loads(done.stdout)["ids"]
    assert [admin.get(job_id).payload for job_id in ids] == [{"n": 1}, "zwei", 3]


def test_invalid_line_is_named_and_no_line_is_put(cli: Cli, admin: Admin) -> None:
    good = "\n".join(str(number) for number in range(6000))

    sentence = error_of(cli("put", "mail", "-", stdin=f"{good}\noops\n7\n"), code=2)

    assert "line 6001" in sentence
    assert admin.size("mail") == 0


# -- status, jobs, show


def test_status_counts_jobs_by_state_and_shows_supervisors(
    cli: Cli, publisher: Publisher, conn: Any
) -> None:
    publisher.put_many("mail", [1, 2, 3])
    publisher.put("mail", 4, delay=600)
    put_rejected(conn)
    conn.execute("insert into supervisors (name) values ('host:1')")

    document = json.loads(cli("status", "--json").stdout)
    table = cli("status").stdout

    counts = {(count["queue_name"], count["state"]): count["jobs"] for count in document["queues"]}
    assert counts == {("mail", "ready"): 3, ("mail", "scheduled"): 1, ("mail", "rejected"): 1}
    assert document["supervisors"][0]["name"] == "host:1"
    assert "host:1" in table
    assert next(line.split()[:5] for line in table.splitlines() if "mail" in line) == [
        "mail",
        "3",
        "1",
        "0",
        "1",
    ]


def test_status_and_show_print_the_progress_of_a_run(
    cli: Cli, supervise: Supervise, publisher: Publisher, gates: Gates
) -> None:
    with supervise(Consumer("mail", callback=MISBEHAVE)):
        job_id = publisher.put(
            "mail",
            {"do": "progress", "fraction": 0.25, "note": "a quarter of the pages", "then": "hold"},
        )
        for command in (["status"], ["show", str(job_id)]):
            eventually(lambda command=command: "25%" in cli(*command).stdout)  # type: ignore[misc]
            assert "a quarter of the pages" in cli(*command).stdout
        gates.open()


def test_jobs_are_listed_by_queue_and_state_up_to_a_limit(
    cli: Cli, publisher: Publisher, conn: Any
) -> None:
    ids = publisher.put_many("mail", [1, 2, 3])
    publisher.put("other", 4)
    put_rejected(conn, reason="the printer is on fire")

    found = json.loads(
        cli("jobs", "--queue", "mail", "--state", "ready", "--limit", "2", "--json").stdout
    )

    assert [record["id"] for record in found] == ids[:2]
    assert "the printer is on fire" in cli("jobs", "--state", "rejected").stdout


def test_show_prints_payload_state_and_failures_of_a_job(cli: Cli, conn: Any) -> None:
    job_id = put_rejected(conn, '{"to": "ada", "parts": [1, 2]}', reason="no such address")

    text = cli("show", str(job_id)).stdout
    document = json.loads(cli("show", str(job_id), "--json").stdout)

    for fact in (
        "mail",
        "rejected",
        '"to": "ada"',
        "no such address",
        "Traceback: no such address",
    ):
        assert fact in text
    assert (document["id"], document["payload"]["parts"]) == (job_id, [1, 2])
    assert document["failures"][0]["message"] == "no such address"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_control_characters_in_data_never_reach_the_terminal(
    cli: Cli, conn: Any, options: tuple[str, ...]
) -> None:
    control = "\x1b[31m\x9b2J\x07\x7f"
    job_id = put_rejected(
        conn,
        json.dumps({"x": control}, ensure_ascii=False).replace("\x1b", "\\u001b"),
        f"q{control}",
        control,
    )

    for command in (("jobs",), ("show", str(job_id)), ("status",)):
        out = cli(*command, *options).stdout
        assert out
        assert not set(out) & set("\x1b\x9b\x07\x7f"), command


def test_line_breaks_in_data_break_no_line_of_a_table(cli: Cli, conn: Any) -> None:
    job_id = put_rejected(conn, queue_name="two\nlines\r\n", reason="no")
    conn.execute("insert into supervisors (name) values (E'host\\n:1')")

    lines = cli("status").stdout.splitlines()
    assert len([line for line in lines if "two\\nlines\\r\\n" in line]) == 1
    assert len([line for line in lines if "host\\n:1" in line]) == 1
    assert len(cli("jobs").stdout.splitlines()) == 2
    assert "queue_name   two\\nlines\\r\\n\n" in cli("show", str(job_id)).stdout


# -- requeue, delete


def test_rejected_job_is_requeued(cli: Cli, admin: Admin, conn: Any) -> None:
    job_id = put_rejected(conn)

    assert cli("requeue", str(job_id)).returncode == 0
    assert (admin.get(job_id).state, admin.get(job_id).run_count) == (State.READY, 0)

    assert str(job_id) in error_of(cli("requeue", str(job_id)))


def test_every_command_that_changes_something_prints_json(
    cli: Cli, conn: Any, project: Path
) -> None:
    put_rejected(conn)
    assert json.loads(cli("requeue", "--queue", "mail", "--json").stdout) == {"requeued": 1}
    assert json.loads(cli("delete", "--queue", "mail", "--yes", "--json").stdout) == {"deleted": 1}
    assert json.loads(cli("migrate", "--json").stdout)["applied"] == []
    assert [result["ok"] for result in json.loads(cli("check", "--json").stdout)] == [
        True,
        True,
        True,
    ]


def test_rejected_jobs_of_a_queue_are_requeued(cli: Cli, admin: Admin, conn: Any) -> None:
    ids = [put_rejected(conn), put_rejected(conn), put_rejected(conn, queue_name="other")]

    assert "2" in cli("requeue", "--queue", "mail").stdout
    assert [admin.get(job_id).state for job_id in ids] == [State.READY, State.READY, State.REJECTED]


def test_jobs_that_are_left_out_are_counted_in_the_right_number(cli: Cli, conn: Any) -> None:
    def sentence(command: str, *ids: int) -> str:
        return error_of(cli(command, *map(str, ids))).removeprefix("taskmaster: ").rstrip()

    no, nos = "is not rejected, so it cannot", "are not rejected, so they cannot"
    one, *both = (put_rejected(conn) for _ in range(3))
    assert sentence("requeue", 98) == f"job 98 {no} be requeued"
    assert sentence("requeue", 98, one) == f"job 98 {no} be requeued; 1 other was done"
    assert sentence("requeue", 98, 99, *both) == (
        f"jobs 98, 99 {nos} be requeued; 2 others were done"
    )
    assert sentence("delete", 98) == "job 98 cannot be deleted: it runs, or there is no such job"
    assert sentence("delete", 98, 99) == (
        "jobs 98, 99 cannot be deleted: they run, or there are no such jobs"
    )


def test_queue_is_not_deleted_without_yes(cli: Cli, publisher: Publisher, admin: Admin) -> None:
    publisher.put_many("mail", [1, 2])

    refused = cli("delete", "--queue", "mail")

    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert admin.size("mail") == 2


def test_delete_removes_only_jobs_in_the_named_state(
    cli: Cli, publisher: Publisher, admin: Admin, conn: Any
) -> None:
    kept = publisher.put("mail", 1)
    gone = put_rejected(conn)

    assert cli("delete", "--queue", "mail", "--state", "rejected", "--yes").returncode == 0

    assert [record.id for record in admin.find()] == [kept]
    assert str(gone) in error_of(cli("delete", str(gone)))
    assert cli("delete", str(kept)).returncode == 0
    assert admin.find() == []


# -- usage and faults


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("jobs", "--quee", "x"), "--queue"),
        (("put", "mail", "1", "--priorty", "1"), "--priority"),
        (("requeue",), "--queue"),
        (("requeue", "1", "--queue", "mail"), "--queue"),
        (("delete", "1", "--state", "ready"), "--queue"),
        (("jobs", "--state", "lost"), "rejected"),
        (("show", "seven"), "seven"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_hint(
    cli: Cli, arguments: tuple[str, ...], hint: str
) -> None:
    process = cli(*arguments)

    assert (process.returncode, process.stdout) == (2, "")
    assert hint in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    "arguments", [("status",), ("put", "mail", "1"), ("show", "1"), ("migrate",)]
)
def test_command_without_a_database_prints_one_sentence(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    sentence = error_of(
        cli(*arguments, TASKMASTER_DATABASE_URL="postgresql://postgres@127.0.0.1:1/none")
    )

    assert "cannot connect" in sentence


def test_show_of_a_missing_job_prints_one_sentence(cli: Cli) -> None:
    assert "424242" in error_of(cli("show", "424242"))
    error_of(cli("show", str(2**63)), code=1)


def test_closed_pipe_causes_no_traceback(
    environment: dict[str, str], publisher: Publisher, tmp_path: Path
) -> None:
    publisher.put_many("mail", ["x" * 1000] * 500)
    process = subprocess.Popen(
        [sys.executable, "-m", "taskmaster", "jobs", "--json", "--limit", "500"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.read(10)
    process.stdout.close()

    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(10)


def test_empty_database_is_migrated_once(cli: Cli, empty_database_url: str) -> None:
    assert "taskmaster migrate" in error_of(
        cli("status", TASKMASTER_DATABASE_URL=empty_database_url)
    )

    for _ in range(2):
        assert cli("migrate", TASKMASTER_DATABASE_URL=empty_database_url).returncode == 0

    assert cli("status", TASKMASTER_DATABASE_URL=empty_database_url).returncode == 0


# -- init, check, run


def test_files_written_by_init_run(cli: Cli, start: Start, tmp_path: Path) -> None:
    assert cli("init").returncode == 0
    assert cli("check").returncode == 0
    process = start("run")
    log = tmp_path / "run.log"
    eventually(lambda: "ready" in log.read_text(), within=20)

    cli("put", "greetings", '{"name": "Ada"}')

    eventually(lambda: "Hello, Ada!" in log.read_text())
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("middleware", "http", "hint"),
    [
        ('["metrics"]', "", "nothing serves it: set http in [supervisor]"),
        (
            '[{ use = "metrics", wait_buckets = [1] }]',
            "",
            "nothing serves it: set http in [supervisor]",
        ),
        ("[]", 'http = "127.0.0.1:9464"', "add the middleware 'metrics'"),
        ('["metrics"]', 'http = "127.0.0.1:9464"', ""),
        ('["logging"]', "", ""),
    ],
)
def test_check_hints_at_half_configured_metrics(
    cli: Cli, project: Path, middleware: str, http: str, hint: str
) -> None:
    written = CONFIG.replace("[supervisor]", f"[supervisor]\n{http}")
    (project / "taskmaster.toml").write_text(f"middleware = {middleware}\n{written}")
    checked = cli("check")
    assert checked.returncode == 0
    found = checked.stdout.splitlines()[0].removeprefix(
        "ok      configuration: 1 consumer(s) in taskmaster.toml"
    )
    assert found.endswith(hint)
    assert bool(found) == bool(hint)


def test_init_never_overwrites(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text("mine")

    assert "jobs.py" in error_of(cli("init"))
    assert (tmp_path / "jobs.py").read_text() == "mine"
    assert not (tmp_path / "taskmaster.toml").exists()


def test_run_logs_ready_and_exits_with_0(
    cli: Cli, start: Start, project: Path, admin: Admin
) -> None:
    process = start("run")
    log = project / "run.log"
    eventually(lambda: "ready" in log.read_text(), within=20)
    assert "'mail'" in log.read_text()
    assert "2" in log.read_text()

    job_id = int(cli("put", "mail", '"reject"').stdout)
    eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert "no such address" in cli("show", str(job_id)).stdout
    assert len(json.loads(cli("status", "--json").stdout)["supervisors"]) == 1

    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("command", ["run", "check"])
def test_missing_configuration_points_to_init(cli: Cli, command: str) -> None:
    process = cli(command)

    assert process.returncode == 1
    assert "taskmaster init" in process.stdout + process.stderr


@pytest.mark.parametrize(
    ("module", "about"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("send = 5", "mails:send"),
        ("def sent(job): ...", "send"),
        ("import os; os._exit(7)", "7"),
    ],
)
def test_check_names_the_fault_of_a_callback_and_survives_it(
    cli: Cli, project: Path, module: str, about: str
) -> None:
    (project / "mails.py").write_text(module)

    process = cli("check")

    assert process.returncode == 1
    assert about in process.stdout + process.stderr
    assert "failed" in process.stdout
    assert "Traceback" not in process.stderr


def test_count_that_is_not_a_whole_number_from_1_is_refused(cli: Cli, project: Path) -> None:
    for value in ("0", "2.5"):
        written = CONFIG.replace("[supervisor]", f"[supervisor]\nboot_attempts = {value}")
        (project / "taskmaster.toml").write_text(written)
        for command in ("check", "run"):
            assert "boot_attempts must be a whole number from 1 to" in error_of(cli(command))


def test_check_passes_for_a_working_project(cli: Cli, project: Path) -> None:
    process = cli("check")

    assert process.returncode == 0, process.stderr
    assert "failed" not in process.stdout
    assert process.stdout.count("ok") >= 3


def test_check_runs_no_user_code_in_the_command_itself(cli: Cli, project: Path) -> None:
    (project / "mails.py").write_text(
        "import os\nopen('pid', 'w').write(str(os.getppid()))\ndef send(job): ...\n"
    )

    assert cli("check").returncode == 0

    # It ran in a child of the command.
    assert int((project / "pid").read_text()) != os.getpid()
