"""What the tests share: waiting for facts, a server with databases, supervisors in processes of their own."""

from tests.support.journal import Gates, Journal, Run
from tests.support.server import Server, running_server
from tests.support.supervisor_process import Supervise, Supervised, supervised
from tests.support.waiting import eventually

__all__ = [
    "Gates",
    "Journal",
    "Run",
    "Server",
    "Supervise",
    "Supervised",
    "eventually",
    "running_server",
    "supervised",
]
