"""Commands and options on the pages and in the alert rules are those of the command line."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskmaster.cli.main import cli
from tests.support.commands import in_shell, in_span, refusal
from tests.support.markdown import (
    ROOT,
    alert_rules,
    blocks,
    code_spans,
    names,
    pages,
    table_rows,
)

PAGE = ROOT / "docs" / "reference" / "command-line.md"
# Not options of a command's own: all commands have them, and the page says so once.
COMMON_OPTIONS = {"--config", "--help"}


def commands_on(page: Path) -> Iterator[list[str]]:
    for block in blocks(page):
        if block.language == "sh":
            yield from in_shell(block.content)
    yield from filter(None, map(in_span, code_spans(page)))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_exist(page: Path) -> None:
    refused = {" ".join(found): refusal(found) for found in commands_on(page)}
    assert {command: why for command, why in refused.items() if why} == {}


def test_commands_in_alert_rules_exist() -> None:
    texts = [rule["annotations"]["runbook"] for rule in alert_rules()]
    found = [in_span(span) for text in texts for span in re.findall(r"`([^`]+)`", text)]
    commands = [command for command in found if command is not None]
    assert commands
    assert [(command, why) for command in commands if (why := refusal(command))] == []


@pytest.mark.parametrize(
    ("command", "is_taken"),
    [
        (["jobs", "--queue", "q", "--state", "ready"], True),
        (["show", "ID"], True),
        (["jobs", "q"], False),
        (["show", "--fast", "1"], False),
        (["cancel", "1"], False),
    ],
)
def test_command_that_does_not_exist_is_noticed(command: list[str], is_taken: bool) -> None:
    assert (refusal(command) is None) == is_taken


def options_of(command: click.Command) -> set[str]:
    """Return the long options of a command that are shown and its own."""
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    return {name for one in options for name in one.opts if name.startswith("--")} - COMMON_OPTIONS


def test_reference_lists_every_command_with_its_options() -> None:
    headings = re.findall(r"^## `taskmaster (\w+)`$", PAGE.read_text(), flags=re.MULTILINE)
    assert set(headings) == set(cli.commands)
    for name in headings:
        rows = table_rows(PAGE, f"## `taskmaster {name}`")
        options = {span.split()[0] for row in rows for span in names(row[0]) if span[0] == "-"}
        assert options == options_of(cli.commands[name]), name
