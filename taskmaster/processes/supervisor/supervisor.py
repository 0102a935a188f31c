"""The supervisor as users see it: what it is made of, and `run` in this process. `start` is in running.py."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import NamedTuple

from setproctitle import setproctitle

from taskmaster.consumer import Consumer
from taskmaster.embedded import directory_of, resolve_url
from taskmaster.errors import InvalidConfig
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ledger.ledger import Ledger
from taskmaster.processes.ledger.listener import Listener
from taskmaster.processes.pool.generation import Generation
from taskmaster.processes.pool.generations import Generations
from taskmaster.processes.pool.pool import WorkerPool
from taskmaster.processes.pool.template_client import TemplateClient
from taskmaster.processes.shared.lifeline import Lifeline
from taskmaster.processes.shared.orphans import adopt_orphans
from taskmaster.processes.shared.plan import Database, Plan
from taskmaster.processes.shared.scoreboard import Scoreboard
from taskmaster.processes.shared.worker_numbers import Numbers
from taskmaster.processes.supervisor import descriptors
from taskmaster.processes.supervisor.background import BackgroundSupervisor
from taskmaster.processes.supervisor.embedded_service import EmbeddedService
from taskmaster.processes.supervisor.exporter_service import ExporterService, exporter_service_at
from taskmaster.processes.supervisor.loop import Loop
from taskmaster.processes.supervisor.metrics_directory import counting_directory
from taskmaster.processes.supervisor.signals import Signals
from taskmaster.processes.supervisor.stdio import keep_for_stdio
from taskmaster.validation import check_schema


class SupervisorContext(NamedTuple):
    """What all generations of one supervisor stand on."""

    database: Database
    lifeline: Lifeline
    options: SupervisorOptions
    numbers: Numbers


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

    def run(
        self,
        *,
        on_ready: Callable[[], object] = lambda: None,
        reload: "Callable[[], Supervisor] | None" = None,
    ) -> None:
        """Run in this process, which must be its main thread, until SIGTERM or SIGINT. Children of this
        process are its own: it waits for all, and ends those that it does not know, which callbacks have left.

        SIGHUP has new workers run the supervisor that `reload` answers (None: this one, its modules imported anew), and
        running jobs finish on the old ones. When it, or what it names, cannot be loaded, the old ones stay at work.

        Raises InvalidConfig when something named cannot be loaded, SchemaMismatch, and WorkersFailed when workers die
        again and again before they can work. A database that does not answer is waited for.
        """
        keep_for_stdio()
        with ExitStack() as stack:
            database = Database(stack.enter_context(resolve_url(self.database_url)), self.schema)
            signals = stack.enter_context(Signals(self.options.grace_seconds))
            setproctitle("taskmaster supervisor")
            adopt_orphans()
            lifeline = stack.enter_context(closing(Lifeline()))
            counted = stack.enter_context(counting_directory()) if self.options.http else None
            context = SupervisorContext(database, lifeline, self.options, Numbers(counted))

            def renewed() -> Generation:
                newer = self if reload is None else reload()
                self._refuse_changes(newer)
                return newer._generation(context)

            generations = Generations(self._generation(context), renewed)
            listener, ledger = (
                Listener(database.url, database.schema),
                Ledger(database, self.options),
            )
            exporter_service = self._export(context)
            loop = Loop(
                self.options,
                signals,
                generations,
                listener,
                ledger,
                on_ready,
                exporter_service,
                self._revival(),
            )
            stack.enter_context(closing(loop)).run()

    def start(self, *, within_seconds: float = 60.0) -> BackgroundSupervisor:
        """Run in a process of its own, and return when all workers are up. Safe in an application with threads.

        Raises WorkersFailed with the reason when it is not ready within `within_seconds`.

        >>> with supervisor.start():  # doctest: +SKIP
        ...     publisher.put("mail", {"to": "ada"})
        """
        return BackgroundSupervisor(self, within_seconds=within_seconds)

    def _revival(self) -> EmbeddedService | None:
        directory = directory_of(self.database_url)
        return None if directory is None else EmbeddedService(directory)

    def _export(self, context: "SupervisorContext") -> ExporterService | None:
        counted, http = context.numbers.directory, self.options.http
        if http is None or counted is None:
            return None
        return exporter_service_at(http, context.database, counted, source=self.source)

    def _generation(self, context: "SupervisorContext") -> Generation:
        workers = sum(consumer.concurrency for consumer in self.consumers)
        descriptors.allow_for(workers, self.source)
        scoreboard = Scoreboard(workers)
        plan = Plan(
            database=context.database,
            consumers=self.consumers,
            source=self.source,
            workers=scoreboard.count,
            notify_ms=context.options.notify_ms,
            metrics_dir=context.numbers.directory,
        )
        pool = WorkerPool(self.consumers, context.options, scoreboard, context.numbers)
        return Generation(
            scoreboard, pool, TemplateClient(plan, scoreboard.fd, context.lifeline.read_fd)
        )

    def _refuse_changes(self, newer: "Supervisor") -> None:
        """What belongs to the supervisor's process cannot be reloaded."""
        for name in ("database_url", "schema", "options"):
            if getattr(self, name) != getattr(newer, name):
                what = "[supervisor]" if name == "options" else name
                raise InvalidConfig(
                    f"{self.source}: {what} has changed, and only a restart can change it"
                )
