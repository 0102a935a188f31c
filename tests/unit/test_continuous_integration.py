"""The workflow on GitHub and the hooks before a commit run what a contributor runs."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS: dict[str, Any] = WORKFLOW["jobs"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def steps() -> Iterator[dict[str, Any]]:
    for job in JOBS.values():
        yield from job["steps"]


def commands() -> list[str]:
    """Return the make commands of the workflow and of the hooks."""
    hooks = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    texts = [*hooks, *(step.get("run", "") for step in steps())]
    return [command for text in texts for command in re.findall(r"\bmake (\S+)", text)]


def test_workflow_tests_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = CLASSIFIER.findall("\n".join(project["classifiers"]))
    assert JOBS["test"]["strategy"]["matrix"]["python"] == versions


def test_workflow_tests_the_oldest_and_the_newest_postgres() -> None:
    assert JOBS["test"]["strategy"]["matrix"]["postgres"] == ["14", "18"]
    assert re.fullmatch(r"postgres:14\.\d+", JOBS["test"]["services"]["postgres"]["image"])


def test_every_action_is_pinned_by_its_full_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", name)] == []


def test_make_targets_of_workflow_and_hooks_exist() -> None:
    targets = re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE)
    assert {"lint", "test", "docs"} <= set(commands()) <= set(targets)


def test_hooks_download_nothing() -> None:
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
