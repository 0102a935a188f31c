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


def worker_table() -> dict[str, set[str]]:
    """Return the states that may follow each state of a worker, as the page has them."""
    names = "|".join(slot.WorkerState)
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    following = {state: set(re.findall(rf"\b({names})\b", text)) for state, text in rows}
    return {state: found for state, found in following.items() if state in set(slot.WorkerState)}


def test_page_lists_every_transition_of_a_worker() -> None:
    assert worker_table() == {
        str(source): set(map(str, targets)) for source, targets in slot.TRANSITIONS.items()
    }


def test_chart_of_a_worker_shows_transitions_that_exist(states: ModuleType) -> None:
    table = worker_table()
    assert set(states.WORKER.states) == set(table)
    assert {edge.source for edge in states.WORKER.edges} == set(table)
    assert all(edge.target in table[edge.source] for edge in states.WORKER.edges)
