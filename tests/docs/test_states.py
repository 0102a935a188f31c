"""The state charts are what their script draws, and show what the code does."""

import importlib.util
import re
import sys
from types import ModuleType

import pytest

from taskmaster.job import TRANSITIONS, State
from taskmaster.processes.supervisor.pool import slot
from tests.support.markdown import ROOT

SCRIPT = ROOT / "docs" / "tools" / "states.py"
PAGE = ROOT / "docs" / "explanation" / "states.md"


@pytest.fixture(scope="module")
def states() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_states", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_states"] = module  # its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_charts_are_what_the_script_draws(states: ModuleType) -> None:
    for name, chart in states.FILES.items():
        written = (states.DIRECTORY / name).read_text()
        assert written == chart.svg(), "run .venv/bin/python docs/tools/states.py"
        assert name in PAGE.read_text()


def test_chart_of_a_job_shows_every_transition(states: ModuleType) -> None:
    drawn = {(edge.source, edge.target) for edge in states.JOB.edges}
    planned = State.CANCELLED  # no command cancels a job yet
    transitions = {
        (str(source), str(target))
        for source, targets in TRANSITIONS.items()
        for target in targets
        if target is not planned
    }
    assert {edge for edge in drawn if edge[0]} - {("rejected", "deleted")} == transitions


def test_page_explains_every_state_of_a_worker(states: ModuleType) -> None:
    explained = re.findall(r"^\| (\w+) \| [^|]+ \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    assert set(states.WORKER.states) <= set(explained)
    assert {edge.source for edge in states.WORKER.edges} == set(states.WORKER.states)


def test_chart_of_a_worker_shows_every_transition(states: ModuleType) -> None:
    drawn = {(edge.source, edge.target) for edge in states.WORKER.edges}
    assert drawn == {
        (str(source), str(target))
        for source, targets in slot.TRANSITIONS.items()
        for target in targets
    }
