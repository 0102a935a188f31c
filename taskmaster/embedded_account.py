"""Who runs the embedded server for root, which Postgres refuses to be, and what that account must be let to do."""

import pwd
import stat
import subprocess
from pathlib import Path

from taskmaster.errors import EmbeddedUnavailable

ACCOUNT = "embedded_postgres"
USERADD_EXISTS = 9


def account_for(directory: Path) -> pwd.struct_passwd:
    """Who runs the server for root: Postgres refuses to be root. The directory's owner, else an account of its own."""
    owner = next(path for path in (directory, *directory.parents) if path.exists()).stat().st_uid
    known = {user.pw_uid: user for user in pwd.getpwall()}
    if owner and owner in known:
        return known[owner]
    if not any(user.pw_name == ACCOUNT for user in known.values()):
        made = subprocess.run(["useradd", "--system", "--user-group", ACCOUNT], capture_output=True, text=True)
        if made.returncode not in (0, USERADD_EXISTS):
            raise EmbeddedUnavailable(f"root needs the account {ACCOUNT} to run Postgres: {made.stderr.strip()}")
    return pwd.getpwnam(ACCOUNT)


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
    for path in (package, *package.rglob("*"), *libraries.rglob("*"), *libraries.parent.glob(libraries.name)):
        rights = stat.S_IMODE(path.stat().st_mode)
        path.chmod(rights | (rights & 0o500) >> 3 | (rights & 0o500) >> 6)
