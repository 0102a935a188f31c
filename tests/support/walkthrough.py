"""Follow pages as a reader does: write their files, type their commands, compare the output.

A `text` block directly below a block of commands is the output of these. Any other `text` block is
what appears in the terminal in which `taskmaster run` runs.
"""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.markdown import Block, blocks
from tests.support.supervisor_process import MARK, expect_no_process
from tests.support.transcript import is_shown, missing_lines
from tests.support.waiting import eventually

RUN = "taskmaster run"
COMMAND_SECONDS = 30.0
STOP_SECONDS = 20.0
PAGE_PORT = "9464"
PAGE_DIRECTORY = "/home/ada/primes"
LOOKS = re.compile(r"(taskmaster (status|jobs|show|check)\b|curl )")
CURL = """\
#!{python}
import sys, urllib.request
for url in sys.argv[1:]:
    if url.startswith("http"):
        sys.stdout.write(urllib.request.urlopen(url, timeout=10).read().decode())
"""


class Walkthrough:
    """A directory, the commands typed in it, and the supervisor in the other terminal."""

    def __init__(self, directory: Path) -> None:
        self.mark = f"walkthrough-{secrets.token_hex(6)}"
        self.directory = directory / "primes"
        self.directory.mkdir()
        self.port = str(free_port())
        self.environment = {
            **os.environ,
            "PATH": f"{make_curl(directory)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions within a second would look the same
            MARK: self.mark,
            "SPT_NOENV": "1",
        }
        self.terminal = directory / "terminal.log"
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.last: Block | None = None
        self.output = ""

    def follow(self, page: Path) -> None:
        """Do what a page says, block by block."""
        for block in blocks(page):
            if not block.is_executed:
                continue
            self.do(block._replace(content=block.content.replace(PAGE_PORT, self.port)))

    def do(self, block: Block) -> None:
        if block.file is not None:
            (self.directory / block.file).write_text(block.content)
        elif block.language == "text":
            self.compare(block)
        elif block.content.strip() == RUN:
            self.start(block)
        elif block.language in ("sh", "python"):
            self.execute(block)

    def start(self, block: Block) -> None:
        """Press Ctrl-C in the terminal of the supervisor, and start it again."""
        self.stop()
        with self.terminal.open("wb") as terminal:
            self.supervisor = subprocess.Popen(
                RUN.split(),
                cwd=self.directory,
                env=self.environment,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )
        eventually(lambda: "ready: " in self.shown())
        self.last = block

    def shown(self) -> str:
        """Return what the terminal of the supervisor shows. Fail if the supervisor has exited."""
        assert self.supervisor is not None
        shown = self.terminal.read_text()
        if (code := self.supervisor.poll()) is not None:
            raise RuntimeError(f"exit code {code}: {shown}")
        return shown

    def execute(self, block: Block) -> None:
        shell = ["bash", "-euc"] if block.language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*shell, block.content],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {done.stdout}"
        self.last, self.output = block, done.stdout

    def compare(self, block: Block) -> None:
        """Compare a block of text with what the last commands printed, or the supervisor."""
        last = self.last
        assert last is not None, block.place
        if last.content.strip() == RUN or not block.follows_at_once:
            eventually(lambda: missing_lines(block.content, self.shown()) == [])
        elif LOOKS.match(last.content):  # what it shows may need a moment to come true
            eventually(lambda: self.look_again(last, block))
        else:
            assert self.matches(block), f"{block.place}: {self.output}"

    def look_again(self, last: Block, block: Block) -> bool:
        if not self.matches(block):
            self.execute(last)
            assert self.matches(block), f"{block.place}: {self.output}"
        return True

    def matches(self, block: Block) -> bool:
        output = self.output.replace(str(self.directory), PAGE_DIRECTORY)
        return is_shown(output, block.content)

    def stop(self) -> None:
        if self.supervisor is not None:
            self.supervisor.send_signal(signal.SIGINT)
            assert self.supervisor.wait(STOP_SECONDS) == 0, self.terminal.read_text()
            self.supervisor = None

    def clean_up(self) -> None:
        """Kill the supervisor if a page failed, and let a last user stop the embedded server."""
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait(STOP_SECONDS)
            subprocess.run(
                ["taskmaster", "status"],
                cwd=self.directory,
                env=self.environment,
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )


@contextmanager
def walkthrough(directory: Path) -> Iterator[Walkthrough]:
    """Yield a walkthrough in an empty directory. No process of it may be left at the end."""
    one = Walkthrough(directory)
    try:
        yield one
        one.stop()
        expect_no_process(one.mark)
    finally:
        one.clean_up()


def make_curl(directory: Path) -> Path:
    """Write a `curl` that does what the pages need. Not every machine has one."""
    directory = directory / "bin"
    directory.mkdir()
    (directory / "curl").write_text(CURL.format(python=sys.executable))
    (directory / "curl").chmod(0o755)
    return directory


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
