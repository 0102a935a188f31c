"""The wheel that users install, in an otherwise empty environment."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Run by the Python of the empty environment, in an empty directory.
SCRIPT = """
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

from taskmaster import Admin, Consumer, Job, Publisher, Supervisor


def callback(job: Job) -> None:
    Path("ran").write_text(job.payload["say"])


errors = {"use": "errors", "reject": ["builtins:ValueError"]}
middleware = ["logging", "metrics", {"use": "stamp", "text": "stamped"}, errors]
consumer = Consumer("wheel", callback=callback, middleware=middleware)
url = sys.argv[1]
with Publisher(url) as publisher, Supervisor(url, [consumer]).start(), Admin(url) as admin:
    publisher.put("wheel", {"say": "done"})
    deadline = time.monotonic() + 30
    while admin.size("wheel") and time.monotonic() < deadline:
        pass
names = sorted(entry.name for entry in entry_points(group="taskmaster.middleware"))
print(Path("ran").read_text(), Path("stamp").read_text(), *names)
"""


# The middleware of a third party, as pip installs it.
STAMP = {
    "stamp.py": """
from pathlib import Path


def stamp(*, text):
    def middleware(handler):
        def stamped(job):
            Path("stamp").write_text(text)
            return handler(job)

        return stamped

    return middleware
""",
    "stamp-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stamp\nVersion: 1.0\n",
    "stamp-1.0.dist-info/WHEEL": (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ),
    "stamp-1.0.dist-info/entry_points.txt": "[taskmaster.middleware]\nstamp = stamp:stamp\n",
}


def stamp_wheel(directory: Path) -> Path:
    path = directory / "stamp-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in STAMP.items():
            archive.writestr(name, text)
        archive.writestr("stamp-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in STAMP))
    return path


def run(*command: str | Path, cwd: Path, seconds: float) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        out,
        ROOT,
        cwd=out,
        seconds=60,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.timeout(120)
def test_wheel_contains_all_sql_and_type_markers(wheel: Path) -> None:
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
def test_wheel_runs_a_job_with_a_third_party_middleware(
    wheel: Path, tmp_path: Path, database_url: str
) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path, seconds=60)
    python = tmp_path / "venv/bin/python"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--quiet",
        "--disable-pip-version-check",
    )
    run(*pip, "install", "--no-compile", wheel, stamp_wheel(tmp_path), cwd=tmp_path, seconds=120)
    (tmp_path / "script.py").write_text(SCRIPT)
    names = "errors json_schema logging metrics sentry stamp tracing"
    assert (
        run(python, "-I", "script.py", database_url, cwd=tmp_path, seconds=60)
        == f"done stamped {names}\n"
    )
