"""The supervisor as users see it: what it is made of, and `run` in this process. `start` is in running.py."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from setproctitle import setproctitle

from taskmaster.consumer import Consumer
from taskmaster.embedded import resolve_url
from taskmaster.errors import InvalidConfig
from taskmaster.options import SupervisorOptions
from taskmaster.processes.crew import Crew
from taskmaster.processes.ledger import Ledger
from taskmaster.processes.lifeline import Lifeline
from taskmaster.processes.listener import Listener
from taskmaster.processes.loop import Loop
from taskmaster.processes.nursery import Nursery
from taskmaster.processes.plan import Plan
from taskmaster.processes.running import Running
from taskmaster.processes.signals import Signals
from taskmaster.processes.slots import Slots
from taskmaster.processes.stdio import keep_for_stdio
from taskmaster.processes.worker import Database
from taskmaster.validation import check_schema

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Runs consumers: keeps their workers alive, passes wakeups to them, settles for those that die.

    `database_url`: a libpq URL or conninfo; None: TASKMASTER_DATABASE_URL, else the embedded server in `.taskmaster/`.
    `source` begins the sentences about what is wrong with the consumers, like "taskmaster.toml".

    >>> Supervisor("postgresql://…", consumers=[Consumer("mail", callback="mails:send")]).run()  # doctest: +SKIP
    """

    database_url: str | None = None
    consumers: Sequence[Consumer] = ()
    options: SupervisorOptions = field(default_factory=SupervisorOptions)
    schema: str = "taskmaster"
    source: str = "consumers"

    def __post_init__(self) -> None:
        check_schema(self.schema)
        if not self.consumers:
            raise InvalidConfig(f"{self.source}: there is no consumer to run")
        names = [consumer.queue_name for consumer in self.consumers]
        for name in names:
            if names.count(name) > 1:
                raise InvalidConfig(
                    f"{self.source}: two consumers for queue {name!r}; raise the concurrency of one instead"
                )

    def run(self, *, on_ready: Callable[[], object] = lambda: None) -> None:
        """Run in this process, which must be its main thread, until SIGTERM or SIGINT; waits for every child it has.

        Raises InvalidConfig when something named cannot be loaded, SchemaMismatch, and WorkersFailed when workers die
        again and again before they can work. A database that does not answer is waited for.
        """
        keep_for_stdio()
        with ExitStack() as stack:
            database = Database(stack.enter_context(_url(self.database_url)), self.schema)
            signals = stack.enter_context(Signals(self.options.grace_seconds))
            setproctitle("taskmaster supervisor")
            _adopt_orphans()
            self._loop(database, signals, on_ready, stack).run()

    def start(self, *, within_seconds: float = 60.0) -> Running:
        """Run in a process of its own, and return when all workers are up. Safe in an application with threads.

        Raises WorkersFailed with the reason when it is not ready within `within_seconds`.

        >>> with supervisor.start():  # doctest: +SKIP
        ...     publisher.put("mail", {"to": "ada"})
        """
        return Running(self, within_seconds=within_seconds)

    def _loop(self, database: Database, signals: Signals, on_ready: Callable[[], object], stack: ExitStack) -> Loop:
        slots = Slots(sum(consumer.concurrency for consumer in self.consumers))
        lifeline = stack.enter_context(closing(Lifeline()))
        plan = Plan(
            database=database,
            consumers=self.consumers,
            source=self.source,
            slots=slots.count,
            notify_ms=self.options.notify_ms,
        )
        loop = Loop(
            self.options,
            signals,
            slots,
            Crew(self.consumers, self.options, slots),
            Nursery(plan, slots.fd, lifeline.read_fd),
            Listener(database.url, database.schema),
            Ledger(database, self.options),
            on_ready,
        )
        return stack.enter_context(closing(loop))


@contextmanager
def _url(database_url: str | None) -> Iterator[str]:
    if database_url is not None:
        yield database_url
        return
    with resolve_url(None) as url:
        yield url


def _adopt_orphans() -> None:
    """Become the parent of workers and of what callbacks leave behind, so that all can be waited for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
