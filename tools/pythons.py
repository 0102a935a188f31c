"""The Python versions on this machine, and an environment for each: `.venv-3.12` and so on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
CHECK = "import ensurepip, venv, sys; print('%d.%d.%d' % sys.version_info[:3])"
CHECK_SECONDS = 30.0


class Python(NamedTuple):
    """An interpreter: `version` is 3.12, `release` is 3.12.1."""

    version: str
    release: str
    path: Path

    @property
    def environment(self) -> Path:
        return ROOT / f".venv-{self.version}"

    @property
    def interpreter(self) -> Path:
        return self.environment / "bin/python"

    def prepare(self) -> Path:
        """Create the environment if it is missing or out of date, and return its interpreter."""
        stamp = self.environment / f"created-by-python-{self.release}"
        dependencies = ROOT / "pyproject.toml"
        if not stamp.exists() or stamp.stat().st_mtime < dependencies.stat().st_mtime:
            shutil.rmtree(self.environment, ignore_errors=True)
            subprocess.run([self.path, "-m", "venv", self.environment], check=True)
            pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            extras = ["--editable", ".[dev,embedded]"]
            subprocess.run([self.interpreter, *pip, *extras], cwd=ROOT, check=True)
            stamp.touch()
        return self.interpreter


def find_pythons() -> list[Python]:
    """Return one interpreter per version, the newest release of each."""
    newest: dict[str, Python] = {}
    for path in _candidates():
        python = _inspect(path)
        if python is None or python.version not in VERSIONS:
            continue
        known = newest.get(python.version)
        if known is None or _numbers(known.release) < _numbers(python.release):
            newest[python.version] = python
    return [newest[version] for version in VERSIONS if version in newest]


def _candidates() -> Iterator[Path]:
    """Yield the interpreters on the path and those of pyenv and uv."""
    for version in VERSIONS:
        if found := shutil.which(f"python{version}"):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from pyenv.glob("versions/3.*/bin/python")
    yield from Path.home().glob(".local/share/uv/python/cpython-3.*/bin/python3")


def _inspect(path: Path) -> Python | None:
    """Return the interpreter, or None if it does not run or has no venv and pip."""
    try:
        done = subprocess.run(
            [path, "-c", CHECK], capture_output=True, text=True, timeout=CHECK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    release = done.stdout.strip()
    return Python(release.rpartition(".")[0], release, path)


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
