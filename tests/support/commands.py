"""Commands that pages name, parsed as the command line itself would parse them."""

import re
import shlex
from collections.abc import Iterator

import click

from taskmaster.cli.main import cli

# Processes are called like commands.
TITLES = ("supervisor", "template", "worker", "exporter")
PLACEHOLDERS = {"ID": "1", "ID…": "1", "N": "1", "PATH": "file", "FILE": "file", "[JSON]": "{}"}
LABEL = re.compile(r"\{\{[^}]*\}\}")
END_OF_COMMAND = re.compile(r"[|;&<>()]+")


def in_shell(script: str) -> Iterator[list[str]]:
    """Yield the arguments of each `taskmaster` in a script of shell commands."""
    for line in script.replace("\\\n", " ").splitlines():
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        for start, word in enumerate(words):
            if is_command(words, start, word):
                end = next(
                    (n for n in range(start, len(words)) if END_OF_COMMAND.fullmatch(words[n])),
                    len(words),
                )
                yield words[start + 1 : end]


def is_command(words: list[str], place: int, word: str) -> bool:
    """Return whether a word is the command, and not the name of a unit or a container."""
    if word.endswith("/taskmaster"):
        return True
    before = words[place - 1] if place else "|"
    return word == "taskmaster" and (
        before in ("taskmaster", "exec", "app") or bool(END_OF_COMMAND.fullmatch(before))
    )


def in_span(span: str) -> list[str] | None:
    """Return the arguments of a code span that is a command, else None."""
    words = shlex.split(LABEL.sub("q", span)) if span.startswith("taskmaster ") else []
    return words[1:] if len(words) > 1 and words[1] not in TITLES else None


def refusal(arguments: list[str]) -> str | None:
    """Return what the command line says of these arguments, or None if it takes them."""
    words = [PLACEHOLDERS.get(LABEL.sub("q", word), word) for word in arguments]
    command: click.Command = cli
    if words and not words[0].startswith("-"):
        if words[0] not in cli.commands:
            return f"there is no command {words[0]!r}"
        command, words = cli.commands[words[0]], words[1:]
    try:
        with command.make_context("taskmaster", words):
            return None
    except click.exceptions.Exit:  # --help and --version
        return None
    except click.UsageError as error:
        is_only_named = not words and isinstance(error, click.MissingParameter)
        return None if is_only_named else error.format_message()
