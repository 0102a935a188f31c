"""What the commands share: the options, the settings, and the way to the database."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from taskmaster.admin import Admin
from taskmaster.config import Settings, load_or_default

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """`--config PATH`."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option(
        "--config",
        type=path,
        help="The configuration [default: taskmaster.toml, or pyproject.toml].",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


def add_to_path(settings: Settings) -> None:
    """Have "images:thumbnail" looked for beside the configuration."""
    here = str(settings.home)
    if here not in sys.path:
        sys.path.insert(0, here)


@contextmanager
def admin(config: Path | None) -> Iterator[Admin]:
    """An admin of the configured database."""
    settings: Settings = load_or_default(config)
    with Admin(settings.url, schema=settings.schema) as opened:
        yield opened
