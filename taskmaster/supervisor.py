"""The supervisor as users see it.

Its process is in processes/supervisor/. That is imported when it starts, because applications that
only put jobs do not need it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taskmaster.consumer import Consumer
from taskmaster.environment import default_schema
from taskmaster.errors import InvalidConfig
from taskmaster.options import SupervisorOptions
from taskmaster.validation import check_schema

if TYPE_CHECKING:
    from taskmaster.processes.supervisor.background import BackgroundSupervisor


Reload = Callable[[], "Supervisor | None"]


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Runs consumers: keeps their workers running, wakes them, and settles for those that crash.

    `database_url` is a libpq URL or conninfo. If it is None, the variable TASKMASTER_DATABASE_URL
    is used, or else the embedded server in `.taskmaster/`. `schema` is by default the variable
    TASKMASTER_SCHEMA, or else "taskmaster". `source` begins the sentences about
    errors in the consumers, for example "taskmaster.toml". Modules are looked for in `directory`
    first, and relative paths in it, if it is given. Raises InvalidConfig.

    >>> Supervisor("postgresql://…", consumers=[Consumer("mail", callback="mails:send")]).run()
    ... # doctest: +SKIP
    """

    database_url: str | None = field(default=None, repr=False)
    consumers: Sequence[Consumer] = ()
    options: SupervisorOptions = field(default_factory=SupervisorOptions)
    schema: str = field(default_factory=default_schema)
    source: str = "consumers"
    directory: Path | None = None

    def __post_init__(self) -> None:
        check_schema(self.schema)
        if not self.consumers:
            raise InvalidConfig(f"{self.source}: there is no consumer to run")
        names = [consumer.queue_name for consumer in self.consumers]
        for name in names:
            if names.count(name) > 1:
                raise InvalidConfig(
                    f"{self.source}: two consumers for queue {name!r}; "
                    "raise the concurrency of one instead"
                )

    @property
    def log_format(self) -> Literal["text", "json"]:
        """The format of the log's lines: "json" if that is chosen for any of them."""
        if self.options.log_format is not None:
            return self.options.log_format
        specs = [spec for consumer in self.consumers for spec in consumer.middleware]
        tables = [spec for spec in specs if isinstance(spec, Mapping)]
        is_json = any(t.get("use") == "logging" and t.get("format") == "json" for t in tables)
        return "json" if is_json else "text"

    def run(
        self,
        *,
        on_ready: Callable[[], object] = lambda: None,
        reload: "Reload | None" = None,
    ) -> None:
        """Run in this process until SIGTERM or SIGINT. Call it in the main thread.

        The supervisor reaps all children of this process, and kills those that it did not start,
        because callbacks left them. `on_ready` is called once when all workers are up.

        On SIGHUP, new workers run the supervisor that `reload` returns, or this one with its
        modules imported again. Running jobs finish on the old workers. If the new configuration
        cannot be loaded, the old workers continue. `reload` may return None as long as it does not
        know yet, and is then called again soon.

        Raises InvalidConfig if something that the consumers name cannot be loaded, SchemaMismatch,
        and WorkersFailed if workers exit again and again before they can work. If the database does
        not respond, the supervisor retries until it does.
        """
        from taskmaster.processes.supervisor import main

        main.run(self, on_ready=on_ready, reload=reload)

    def start(self, *, within_seconds: float = 60.0) -> "BackgroundSupervisor":
        """Run in a process of its own, and return when all workers are up.

        This is safe in an application with threads. Raises WorkersFailed with the reason if it is
        not ready within `within_seconds`.

        >>> with supervisor.start():  # doctest: +SKIP
        ...     publisher.put("mail", {"to": "ada"})
        """
        from taskmaster.processes.supervisor.background import BackgroundSupervisor

        return BackgroundSupervisor(self, within_seconds=within_seconds)
