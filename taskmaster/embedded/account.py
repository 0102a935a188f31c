"""The account that runs the embedded server for root, and the permissions that it needs."""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmaster.embedded.locks import exclusive
from taskmaster.errors import EmbeddedUnavailable

ACCOUNT = "embedded_postgres"
ACCOUNTS = Path("/etc")  # this directory is locked while an account is added
USERADD_SECONDS = 60.0


def account_for(directory: Path) -> pwd.struct_passwd:
    """Return the account that runs the server for root, because Postgres refuses to run as root.

    It is the directory's owner, or an account created for the purpose.
    """
    owner = next(path for path in (directory, *directory.parents) if path.exists()).stat().st_uid
    known = {user.pw_uid: user for user in pwd.getpwall()}
    if owner and owner in known:
        return known[owner]
    with _one_at_a_time():
        return _get_or_create_account()


def _get_or_create_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--user-group", ACCOUNT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=USERADD_SECONDS)
    if done.returncode:
        raise EmbeddedUnavailable(
            f"root needs the account {ACCOUNT} to run Postgres: {done.stderr.strip()}"
        )
    return pwd.getpwnam(ACCOUNT)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Serialize useradd: several at once overwrite each other's account."""
    directory = os.open(ACCOUNTS, os.O_RDONLY)
    try:
        with exclusive(directory, ACCOUNTS):
            yield
    finally:
        os.close(directory)


def allow_passage(account: pwd.struct_passwd, path: Path) -> None:
    """Let the account pass through the directories above `path`, without listing them."""
    for parent in path.parents:
        status = parent.stat()
        own = stat.S_IXUSR if status.st_uid == account.pw_uid else 0
        try:
            if not status.st_mode & (stat.S_IXOTH | own):
                parent.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"Postgres runs as {account.pw_name} and cannot pass through {parent} "
                f"({error.strerror}): allow it with 'chmod o+x', or use another directory"
            ) from error


def make_readable(package: Path) -> None:
    """Let all users read and run a package that a strict umask installed for root alone."""
    if (package / "pginstall/bin/postgres").stat().st_mode & stat.S_IXOTH:
        return
    libraries = package.with_name(f"{package.name}.libs")
    for path in (
        package,
        *package.rglob("*"),
        *libraries.rglob("*"),
        *libraries.parent.glob(libraries.name),
    ):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
