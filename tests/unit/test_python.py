"""The Python that runs our processes, also where `sys.executable` is none."""

import multiprocessing.spawn
import os
import sys
from pathlib import Path

import pytest

from taskmaster import TaskmasterError
from taskmaster.import_path import own_first, resolved_path
from taskmaster.processes.ipc.python import this_python


@pytest.fixture(autouse=True)
def _nothing_is_set_for_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", None)


@pytest.mark.parametrize("executable", ["/usr/sbin/uwsgi", "/usr/sbin/apache2", "", None])
def test_embedding_program_starts_the_python_of_its_prefix(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    found = Path(this_python().executable)
    assert found.name.startswith("python")
    assert os.access(found, os.X_OK)
    assert found.parent == Path(sys.prefix, "bin").resolve()


def test_executable_that_is_set_for_multiprocessing_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(tmp_path / "mine"))
    assert this_python().executable == str(tmp_path / "mine")


def test_frozen_program_is_told_how_to_name_a_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/app")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(TaskmasterError, match="is '/opt/app'; name one with multiprocessing"):
        this_python()


def test_path_is_resolved_and_keeps_only_strings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "release")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "current"), tmp_path, ""])
    assert resolved_path() == [str(tmp_path.resolve() / "release"), os.path.realpath("")]


def test_standard_library_comes_first_for_our_own_modules() -> None:
    library = str(Path(os.__file__).parent)
    assert own_first(["/app", library, "/site-packages"]) == [library, "/app", "/site-packages"]
