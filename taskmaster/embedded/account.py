"""Who runs the embedded server for root, which Postgres refuses to be, and what that account must be let to do."""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmaster.embedded.locks import alone
from taskmaster.errors import EmbeddedUnavailable

ACCOUNT = "embedded_postgres"
ACCOUNTS = Path("/etc")  # where the system keeps them: whoever adds one here locks the directory
USERADD_SECONDS = 60.0


def account_for(directory: Path) -> pwd.struct_passwd:
    """Who runs the server for root: Postgres refuses to be root. The directory's owner, else an account of its own."""
    owner = next(path for path in (directory, *directory.parents) if path.exists()).stat().st_uid
    known = {user.pw_uid: user for user in pwd.getpwall()}
    if owner and owner in known:
        return known[owner]
    with _alone():
        return _own_account()


def _own_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--user-group", ACCOUNT]
        made = subprocess.run(command, capture_output=True, text=True, timeout=USERADD_SECONDS)
    if made.returncode:
        raise EmbeddedUnavailable(
            f"root needs the account {ACCOUNT} to run Postgres: {made.stderr.strip()}"
        )
    return pwd.getpwnam(ACCOUNT)


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time: several useradd at once take each other's account away."""
    directory = os.open(ACCOUNTS, os.O_RDONLY)
    try:
        with alone(directory, ACCOUNTS):
            yield
    finally:
        os.close(directory)


def let_through(account: pwd.struct_passwd, path: Path) -> None:
    """Let the account pass through the directories above `path`; it may not list them."""
    for parent in path.parents:
        status = parent.stat()
        own = stat.S_IXUSR if status.st_uid == account.pw_uid else 0
        try:
            if not status.st_mode & (stat.S_IXOTH | own):
                parent.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"Postgres runs as {account.pw_name} and cannot pass through {parent} ({error.strerror}): "
                f"allow it with 'chmod o+x', or use another directory"
            ) from error


def let_read(package: Path) -> None:
    """Give everybody the owner's rights to read and run what a strict umask has installed for root alone."""
    if (package / "pginstall/bin/postgres").stat().st_mode & stat.S_IXOTH:
        return
    libraries = package.with_name(f"{package.name}.libs")
    for path in (
        package,
        *package.rglob("*"),
        *libraries.rglob("*"),
        *libraries.parent.glob(libraries.name),
    ):
        rights = stat.S_IMODE(path.stat().st_mode)
        path.chmod(rights | (rights & 0o500) >> 3 | (rights & 0o500) >> 6)
