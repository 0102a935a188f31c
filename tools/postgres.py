"""The Postgres versions on this machine, and a server of each for a test run.

"embedded" stands for the server that the tests start themselves.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

DEBIAN = Path("/usr/lib/postgresql")
EMBEDDED = "embedded"
UNPRIVILEGED_UID = 65534  # runs the server for root, because Postgres refuses to run as root
PORT = "5432"  # only a part of the socket's name
START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
# Tests kill processes and no machines, so nothing needs a sync. All test processes share a server.
SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=400", "listen_addresses=")


INITDB = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")

Command = list[str | Path]


class Postgres(NamedTuple):
    """A version, and the directory of its programs. `binaries` is None for the embedded one."""

    version: str
    binaries: Path | None

    @contextmanager
    def serve(self) -> Iterator[dict[str, str]]:
        """Run a server during the block, and yield the environment variables that name it."""
        if self.binaries is None:
            yield {}
            return
        with _directory() as directory, _server(self.binaries, directory):
            url = f"postgresql://postgres@/postgres?host={directory}&port={PORT}"
            yield {"TASKMASTER_TEST_DATABASE_URL": url}


def find_postgres() -> list[Postgres]:
    """Return the embedded Postgres, and those that Debian's packages have installed."""
    servers = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return [
        Postgres(EMBEDDED, None),
        *(Postgres(server.parts[-3], server.parent) for server in servers),
    ]


@contextmanager
def _directory() -> Iterator[Path]:
    """Yield a new directory that belongs to the server's account."""
    directory = Path(tempfile.mkdtemp(prefix="taskmaster-matrix-"))
    try:
        if account := _account():
            os.chown(directory, account.pw_uid, account.pw_gid)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """Return the account to run the server, or None for our own."""
    return pwd.getpwuid(UNPRIVILEGED_UID) if os.geteuid() == 0 else None


@contextmanager
def _server(binaries: Path, directory: Path) -> Iterator[None]:
    data, log = directory / "data", directory / "log"
    options: dict[str, Any] = {"cwd": directory}
    if account := _account():
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    settings = [part for option in SETTINGS for part in ("-c", option)]
    server: Command = [binaries / "postgres", "-D", data, "-k", directory, "-p", PORT, *settings]
    with log.open("wb") as output:
        options |= {"stdout": output, "stderr": output}
        subprocess.run([binaries / "initdb", *INITDB, "-D", data], check=True, **options)
        process = subprocess.Popen(server, **options)
    try:
        _wait_until_ready(binaries, directory, process)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait(STOP_SECONDS)


def _wait_until_ready(binaries: Path, directory: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    command: Command = [binaries / "pg_isready", "--quiet", "--host", directory, "--port", PORT]
    while subprocess.run(command).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Postgres does not start: {(directory / 'log').read_text()}")
        time.sleep(POLL_SECONDS)
