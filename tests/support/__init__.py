"""Helpers for the tests: waiting for facts, a server with databases, supervisor processes."""

from tests.support.journal import Gates, Journal, Run
from tests.support.server import Server, running_server
from tests.support.supervisor_process import RunningSupervisor, Supervise, run_supervisor
from tests.support.waiting import eventually

__all__ = [
    "Gates",
    "Journal",
    "Run",
    "Server",
    "Supervise",
    "RunningSupervisor",
    "eventually",
    "running_server",
    "run_supervisor",
]
