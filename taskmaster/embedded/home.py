"""The directory of an embedded server, and the account that owns its files."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from taskmaster.embedded.account import account_for, allow_passage, make_readable
from taskmaster.embedded.own_files import open_own, read_own
from taskmaster.errors import EmbeddedUnavailable

COMMAND_SECONDS = 60.0


class Home:
    """The directory. It is created for the account that runs the server."""

    def __init__(self, directory: Path, *, binaries: Path) -> None:
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self.log = self.directory / "postgres.log"
        self.account = account_for(self.directory) if os.geteuid() == 0 else None
        self.create(self.directory)
        if self.directory.stat().st_uid not in self._owners:
            raise EmbeddedUnavailable(
                f"{self.directory} belongs to another user: use another directory"
            )
        if self.account:
            allow_passage(self.account, self.data)
            allow_passage(self.account, binaries)
            make_readable(binaries.parents[1])

    @property
    def uid(self) -> int:
        """The user that runs the server."""
        return self.account.pw_uid if self.account else os.geteuid()

    @property
    def _owners(self) -> tuple[int, int]:
        """The users whose files are trusted."""
        return self.uid, os.geteuid()

    def create(self, path: Path) -> None:
        """Create a directory that only its owner can enter: anyone who reaches the socket is in.

        Another process may do so at the same time.
        """
        try:
            path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            return
        self._change_owner(path)

    def open(self, name: str) -> IO[bytes]:
        """Open a file of the directory for appending, and create it if it does not exist."""
        file = open_own(self.directory / name, owners=self._owners)
        self._change_owner(file.fileno())
        return file

    def read(self, name: str) -> bytes:
        """Return the content of a file of the directory."""
        return read_own(self.directory / name, owners=self._owners)

    def _change_owner(self, file: Path | int) -> None:
        if self.account:
            os.chown(file, self.account.pw_uid, self.account.pw_gid)

    def run(self, command: Sequence[Path | str], *, pass_fds: Sequence[int] = ()) -> int:
        """Run a command as the account, away from our terminal, and return its exit status.

        Its output goes to the log.
        """
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with self.open(self.log.name) as log:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.directory,
                pass_fds=pass_fds,
                start_new_session=True,
                timeout=COMMAND_SECONDS,
                user=self.account and self.account.pw_uid,
                group=self.account and self.account.pw_gid,
                extra_groups=self.account and [],
            ).returncode

    def rotate_log(self) -> None:
        """Keep the log of the server's last run under another name."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))

    def failure(self, what: str, *, with_cause: bool = False) -> EmbeddedUnavailable:
        """Return an error that names the log, and quotes the cause from it if asked to."""
        cause = self._cause() if with_cause else ""
        return EmbeddedUnavailable(
            f"the embedded Postgres in {self.directory} {what}{cause}: see {self.log}"
        )

    def _cause(self) -> str:
        # The first complaint is the cause. Those about starting up reply to our own connections.
        found = re.search(
            r"(?:FATAL|PANIC|error): +(?!the database system is)(.*)",
            self.read(self.log.name).decode(errors="replace"),
        )
        return f" ({found[1]})" if found else ""
