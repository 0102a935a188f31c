"""The command `taskmaster run`: the supervisor in the foreground."""

import logging
from pathlib import Path

import click

from taskmaster.cli.common import config_option
from taskmaster.cli.reload import Reloader
from taskmaster.config import Settings, load
from taskmaster.processes.system.log import set_up_logging
from taskmaster.supervisor import Supervisor

log = logging.getLogger("taskmaster")


@click.command()
@config_option
def run(config: Path | None) -> None:
    """Run the consumers of taskmaster.toml until SIGTERM or Ctrl-C.

    A second signal does not wait for running jobs. SIGHUP reloads consumers and code; running jobs
    finish on the old ones.
    """
    settings = load(config)
    supervisor = supervisor_of(settings)
    set_up_logging(supervisor.log_format)
    supervisor.run(
        on_ready=lambda: log.info("ready: %s", describe(settings)),
        reload=Reloader(lambda: supervisor_of(load(config))),
    )


def supervisor_of(settings: Settings) -> Supervisor:
    """Return the supervisor that the settings describe."""
    assert settings.source is not None
    return Supervisor(
        settings.url,
        settings.consumers,
        options=settings.supervisor,
        schema=settings.schema,
        source=settings.source.name,
        directory=settings.home,
    )


def describe(settings: Settings) -> str:
    """Return the number of workers per queue, like `2 workers for 'mail'`."""
    return ", ".join(
        f"{consumer.concurrency} worker{'s' if consumer.concurrency > 1 else ''} "
        f"for {consumer.queue_name!r}"
        for consumer in settings.consumers
    )
