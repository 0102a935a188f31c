"""What a user installs: the wheel, in an environment that holds nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Run by the Python of the empty environment, in an empty directory.
SCRIPT = """
import sys
from importlib.metadata import entry_points
from pathlib import Path

from taskmaster import Admin, Consumer, Job, Publisher, Supervisor


def callback(job: Job) -> None:
    Path("ran").write_text(job.payload["say"])


consumer = Consumer("wheel", callback=callback, middleware=["logging", "errors"])
with Publisher(sys.argv[1]) as publisher, Supervisor(sys.argv[1], [consumer]).start(), Admin(sys.argv[1]) as admin:
    publisher.put("wheel", {"say": "done"})
    for _ in range(10_000):
        if not admin.size("wheel"):
            break
print(Path("ran").read_text(), *sorted(entry.name for entry in entry_points(group="taskmaster.middleware")))
"""


def run(*command: str | Path, cwd: Path, seconds: float) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out, seconds=60)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.timeout(120)
def test_a_wheel_without_its_sql_or_types_is_not_shipped(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    roots = {"taskmaster": ROOT, "taskmaster_middleware": ROOT / "middleware"}
    kept = {
        path.relative_to(root).as_posix()
        for package, root in roots.items()
        for path in (root / package).rglob("*")
        if path.suffix in {".py", ".sql"} or path.name == "py.typed"
    }
    assert {"taskmaster/py.typed", "taskmaster_middleware/py.typed"} <= kept
    assert kept <= packed
    assert {name.split("/")[0] for name in packed} == {*roots, "taskmaster_pg-0.1.0.dist-info"}


@pytest.mark.timeout(240)  # its dependencies may have to be downloaded
def test_the_wheel_runs_a_job_in_an_empty_environment(wheel: Path, tmp_path: Path, database_url: str) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path, seconds=60)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path, seconds=120)
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run(python, "-I", "script.py", database_url, cwd=tmp_path, seconds=60) == "done errors logging\n"
