"""Shared by the commands: options, settings and the connection to the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from taskmaster.admin import Admin
from taskmaster.config import load_or_default

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Add the option `--config PATH`."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option(
        "--config",
        type=path,
        help="The configuration [default: taskmaster.toml, or pyproject.toml].",
    )(command)


def json_option(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


@contextmanager
def admin(config: Path | None) -> Iterator[Admin]:
    """Open an Admin of the configured database."""
    settings = load_or_default(config)
    with Admin(settings.url, schema=settings.schema) as opened:
        yield opened
