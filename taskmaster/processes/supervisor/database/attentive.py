"""The supervisor's connections, which pass on the workers' output while they wait.

A database that hangs keeps the loop waiting for seconds, and what workers print then would fill the
memory.
"""

from collections.abc import Callable

from taskmaster.processes.system.log import write_pending_lines
from taskmaster.store.bounded import BoundedConnection


def attentive(pass_on_output: Callable[[], object]) -> type[BoundedConnection]:
    """Return the class of connections that call `pass_on_output` while they wait."""

    class AttentiveConnection(BoundedConnection):
        @classmethod
        def while_waiting(cls) -> None:
            pass_on_output()
            write_pending_lines()

    return AttentiveConnection
